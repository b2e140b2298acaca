// Pack files: many chunks, one file, immutable once sealed. Layout, byte for byte: docs/store-format.md.
// While being written a pack is NAME.partial; finish() makes its bytes durable and only then gives it the name
// NAME.pack, so a file with that name is whole, or damaged later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "storage/manifest.h"

namespace tephra::storage {

// The name of the pack that one rank writes for one checkpoint, and the prefix shared by all packs of one attempt of a
// job: what Store::acquire_lease is given before the attempt starts. '+' occurs in no job name, so no prefix covers
// another job's packs.
std::string pack_prefix(const std::string& job, int64_t attempt);  // "JOB+a2+"
std::string pack_name(const std::string& job, int64_t attempt, const std::string& stage, int64_t step, int rank);
// The rank in such a name; -1: a pack of another origin.
int rank_of_pack(const std::string& pack);
std::string pack_path(const std::string& packs_dir, const std::string& pack);  // "DIR/NAME.pack"

struct PackSummary {
  std::string pack;                                   // its name, without folder or suffix
  uint64_t size_bytes = 0;                            // of the file
  std::vector<std::pair<ChunkRef, uint64_t>> chunks;  // chunk and its offset, in file order
};
std::string encode(const PackSummary& summary);
Result<PackSummary> decode_pack_summary(std::string_view bytes);

// Used by one thread. After a failure every later call returns the first error, and the file is removed with the
// object.
class PackWriter {
 public:
  // kAlreadyExists when a pack of that name is there, sealed. A left-over NAME.partial is replaced.
  static Result<std::unique_ptr<PackWriter>> create(Env& env, const std::string& packs_dir,
                                                    const std::string& pack_name);
  ~PackWriter();  // removes an unsealed file, best effort
  PackWriter(const PackWriter&) = delete;
  PackWriter& operator=(const PackWriter&) = delete;

  // Appends one chunk of 1 to kChunkBytesMax bytes and returns its address. Bytes that this pack already holds are not
  // written again. Errors are the file's (kNoSpace, kIo, ...), with the path.
  Result<ChunkRef> add(std::span<const std::byte> bytes);

  // Writes the footer, syncs the file, seals it under its final name and syncs the folder. Once, last.
  Result<PackSummary> finish();

  uint64_t size_bytes() const { return offset_; }
  const std::string& name() const { return summary_.pack; }

 private:
  PackWriter(Env& env, std::string packs_dir, std::string pack_name);
  Status append(std::span<const std::byte> bytes);
  Status pad_to_alignment();
  Status seal();

  Env& env_;
  const std::string packs_dir_;
  std::string partial_path_;
  std::unique_ptr<WritableFile> file_;
  uint64_t offset_ = 0;
  PackSummary summary_;
  std::map<ChunkRef, uint64_t> offsets_;
  std::vector<Hash128> blocks_;  // of the chunks that have several, in file order
  Status error_;
  bool sealed_ = false;
};

// Reads a sealed pack. Any number of threads.
class PackReader {
 public:
  // Checks magic, version, sizes, and the footer's checksum. kCorruption says what is wrong with which file;
  // kUnsupported when the file is of a later version; kNotFound when there is none.
  static Result<std::unique_ptr<PackReader>> open(Env& env, const std::string& packs_dir, const std::string& pack_name);

  // Fills `out` (chunk.length bytes) with the chunk at `offset` and compares it with its hash. kCorruption names pack and
  // chunk, also when the pack's footer has another chunk there.
  Status read_chunk(const ChunkRef& chunk, uint64_t offset, std::span<std::byte> out) const;
  // The same for a part: the bytes from `begin` on, which starts a block; `out` ends where a block or the chunk does.
  Status read_blocks(const ChunkRef& chunk, uint64_t offset, uint64_t begin, std::span<std::byte> out) const;
  // The hashes of the chunk's blocks, from the footer; they hash to the chunk's address.
  Result<std::span<const Hash128>> blocks(const ChunkRef& chunk, uint64_t offset) const;

  const PackSummary& summary() const { return summary_; }  // the footer's table: what an index is rebuilt from

 private:
  PackReader() = default;
  Status load(const std::string& path);
  // Checks the footer's chunks and finds each one's block hashes; `blocks`: those of the chunks that have several.
  bool index_chunks(std::span<const Hash128> blocks, uint64_t footer_offset);
  std::string describe(const ChunkRef& chunk, uint64_t offset) const;

  std::string path_;
  std::unique_ptr<ReadableFile> file_;
  PackSummary summary_;
  std::vector<Hash128> blocks_;       // of all chunks
  std::vector<size_t> first_blocks_;  // by chunk: its first one
};

}  // namespace tephra::storage
