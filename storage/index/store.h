// The checkpoint store: packs on disk and a RocksDB index that one process owns (the coordinator, or a command line
// when none runs). A checkpoint exists if and only if its manifest header is in the index; that record is written in
// one synced batch after every byte that it names is durable.
//
//   STORE/index/       RocksDB
//   STORE/packs/       sealed packs
//   STORE/manifests/   every checkpoint's manifest once more, to make the index again from
//   STORE/owner        pid, host and url of the owner, a hint (ownership.h)
//
// Threading: every method may be called from any thread and blocks on disk; commits, gc, tags and removals are
// serialised.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/tensor_source.h"
#include "storage/checkpoint_reader.h"
#include "storage/manifest.h"
#include "storage/pack.h"
#include "storage/tensor_writer.h"

namespace tephra::storage {

enum class OpenMode {
  kReadWrite,  // creates the store if it is not there; becomes its owner
  kReadOnly,   // sees the store as it was when opened; works while another process owns it
};

enum class ColumnFamily { kCheckpoints, kChunks, kTags, kJobs, kEvents, kLeases, kMeta };

struct Put {
  ColumnFamily cf = ColumnFamily::kJobs;
  std::string key;
  std::string value;
  bool erase = false;
};

// A line of `ckpt ls`: everything of the manifest but its tensors.
struct CheckpointInfo {
  std::string name;
  Manifest header;                // `tensors` is empty
  std::vector<std::string> tags;  // sorted
  bool pinned = false;
};

struct ImportOptions {
  // Fingerprint of the source (paths, sizes, times). When the same key was imported before and that checkpoint is still
  // there, it is returned without reading a byte. Empty: always read.
  std::string import_key{};
  std::map<std::string, std::string> handover{};
  std::string recipe_json{};  // any description to keep, for example the model's config.json
  std::string build{};
  // Called after each chunk with bytes done and bytes in all; may be empty.
  std::function<void(uint64_t done, uint64_t total)> progress{};
};

struct VerifyProblem {
  std::string tensor{};  // empty: the checkpoint as a whole
  StateKind kind = StateKind::kParameter;
  std::string pack{};
  ChunkRef chunk{};
  std::string message{};
  int rank = -1;                              // that wrote the pack; -1: no rank did, or not known
  std::vector<std::string> also_needed_by{};  // other checkpoints that name the chunk, sorted
};
struct VerifyReport {
  std::string name;
  int64_t tensor_count = 0;
  int64_t chunk_count = 0;
  uint64_t bytes_read = 0;
  std::vector<VerifyProblem> problems;
  bool ok() const { return problems.empty(); }
};

struct GcReport {
  bool dry_run = false;
  std::vector<std::string> packs;             // file names in packs/ that were removed, or would be
  uint64_t bytes = 0;                         // given back: of those, and the dead chunks of those rewritten
  std::vector<std::string> rewritten;         // file names in packs/ whose live chunks moved to a new pack, or would
  std::map<std::string, uint64_t> by_pack;    // of `packs` and `rewritten`: what each gives of `bytes`
  std::vector<std::string> kept_for_writers;  // unreferenced, but leased or possibly still being written
  std::vector<std::string> manifests;  // file names in manifests/ of commits that did not happen, or were removed
};

struct RebuildReport {
  bool index_was_there = false;             // an index could be opened, and what it says stays: tags, jobs, removals
  std::string index_moved_to;               // where one that could not be opened was put; empty: there was none
  std::vector<std::string> checkpoints;     // that are in the index now and were not before
  std::vector<VerifyProblem> left_out;      // manifest files and packs that could not be used; `message` says why
  int64_t pack_count = 0, chunk_count = 0;  // that are in the index now and were not before
};

struct StoreStat {
  int64_t checkpoint_count = 0;
  int64_t pack_count = 0;
  int64_t chunk_count = 0;
  uint64_t logical_bytes = 0;   // of all checkpoints, as if each were stored whole
  uint64_t physical_bytes = 0;  // of the committed packs
  uint64_t dead_bytes = 0;      // of their chunks that no checkpoint reaches
};

// What a checkpoint takes in the store: its distinct chunks, by who else names them.
struct CheckpointUsage {
  uint64_t own_bytes = 0;     // no other checkpoint's: what removing it gives back, at most
  uint64_t shared_bytes = 0;  // also of others
};

// The right of a running attempt to its packs and to the checkpoint that it started from. Durable: a coordinator that
// restarts finds it and releases it, or keeps it for a gang that it re-adopts.
struct Lease {
  std::string pack_prefix;               // pack_prefix(job, attempt)
  std::string holder;                    // for messages: "job j-12 attempt 3"
  std::vector<std::string> checkpoints;  // names that may not be removed meanwhile
};

class Store {
 public:
  // Opens STORE = `dir`. kBusy with one sentence when another process (or handle) owns it; kNotFound in kReadOnly when
  // there is no store; kUnsupported when it was made by a later version. `owner_url`: where the owner can be talked to,
  // for that sentence. `env` outlives the store; packs and the owner file go through it, the index through RocksDB's
  // own files.
  static Result<std::unique_ptr<Store>> open(Env& env, const std::string& dir, OpenMode mode,
                                             const std::string& owner_url = "");
  // Makes the index of a store that is open nowhere again, or adds to an older copy of it what it does not know:
  // chunks from the packs' footers, checkpoints from manifests/, each only if all its chunks are there. With an index
  // that opens, checkpoints that it once committed and no longer has stay removed. Without one, tags, jobs, leases and
  // imports' keys are lost, and a checkpoint whose commit or removal a crash cut short may appear: nothing that was
  // committed and kept is missing (docs/store-format.md). `discard_index`: as if it did not open. Bytes are not read:
  // verify() does. kNotFound: not a store; kBusy: a process has it open.
  static Result<RebuildReport> rebuild(Env& env, const std::string& dir, bool discard_index = false);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Makes `manifest` a checkpoint. `manifest.tensors` is complete: merged new tensors and references to the parent's
  // frozen ones. `packs` are the sealed packs that hold the new chunks: their footers are compared with the summaries,
  // and blocks that several ranks wrote parts of are read back for their hash (see ContentHasher). Sets content,
  // content_hash, created_unix_ms, logical_bytes, new_bytes, commit_sequence; then writes manifest, chunks, packs and
  // `extra` in one synced batch. Ok: the checkpoint
  // as committed, durable. When it was there already with the same content_hash: the existing one, and only `extra` is
  // written. kAlreadyExists: there with other content. kCorruption, kNotFound, kInvalidArgument: what is wrong, with
  // tensor and pack. On any failure nothing is visible, and the packs stay for gc.
  Result<Manifest> commit(Manifest manifest, const std::vector<PackSummary>& packs, const std::vector<Put>& extra = {});

  // Copies `source` into the store, 4 MiB at a time, in its own dtypes, as checkpoint "base/<16 hex digits of
  // content_hash>@0". Chunks that the store holds are not written again; importing the same source twice adds nothing.
  Result<Manifest> import_tensors(const TensorSource& source, const ImportOptions& options);

  // Names: JOB/STAGE@STEP, JOB/STAGE@latest (highest step), JOB/STAGE@best (a tag), or a tag. resolve gives the first
  // form. kNotFound says what is there instead; kInvalidArgument when it cannot be a name.
  Result<std::string> resolve(const std::string& name) const;
  Result<Manifest> get(const std::string& name) const;
  // All checkpoints, or one job's; ordered by job, stage, step. Does not read tensor tables.
  Result<std::vector<CheckpointInfo>> list(const std::string& job = "") const;
  Result<LocatedManifest> locate(const Manifest& manifest) const;
  // get + locate + a reader.
  Result<std::unique_ptr<CheckpointReader>> reader(const std::string& name) const;

  // Points tag `tag` (a plain name, or JOB/STAGE@best) at a checkpoint, replacing an earlier one; with `move` false an
  // earlier one that points elsewhere is kAlreadyExists.
  Status tag(const std::string& tag, const std::string& checkpoint, bool move = true);
  Status untag(const std::string& tag);                     // kNotFound
  Result<std::map<std::string, std::string>> tags() const;  // tag -> checkpoint
  // A pin holds a checkpoint as a tag does and has no name that could move. Ok when it is pinned already.
  Status pin(const std::string& checkpoint);
  Status unpin(const std::string& checkpoint);  // kNotFound when there is no such checkpoint or it has no pin
  Result<std::set<std::string>> pins() const;
  // Forgets the checkpoint; its bytes go with the next gc. kBusy when a tag, a pin or a lease holds it. Its children
  // keep their chunks.
  Status remove(const std::string& name);
  // Re-reads and re-hashes everything that the checkpoint names, in the order of the packs, on all cores. Fails only if
  // `name` does not resolve, or, kCancelled, once `cancelled` (asked now and then, from any thread; may be empty) holds.
  Result<VerifyReport> verify(const std::string& name, const std::function<bool()>& cancelled = {}) const;

  // Deletes packs that no checkpoint reaches, and rewrites those of whose chunks less than `rewrite_below` (of 1) is
  // reached, by bytes: the live chunks move to a new pack. Commits go on meanwhile. Not rewritten are packs under a lease
  // and those that a leased checkpoint reads from; another reader that located a checkpoint before gets kNotFound
  // afterwards, and locates it again. Files that the index does not know are deleted if they were there when the store
  // was opened or a lease on them was released since; others may be a writer's and stay. A crash leaves at worst unknown
  // files, which the next gc deletes.
  Result<GcReport> gc(bool dry_run, double rewrite_below = 0.5);
  Status acquire_lease(const Lease& lease);              // replaces one with the same prefix
  Status release_lease(const std::string& pack_prefix);  // ok when there is none
  Result<std::vector<Lease>> leases() const;
  Result<StoreStat> stat() const;
  // Reads every checkpoint's tensor table once, no chunk.
  Result<CheckpointUsage> usage(const std::string& name) const;

  // The journal, for the coordinator. One atomic batch; `sync` waits for the disk. Checkpoints, chunks and leases are
  // written by the methods above only: kInvalidArgument.
  Status write(const std::vector<Put>& puts, bool sync = true);
  Result<std::optional<std::string>> read(ColumnFamily cf, const std::string& key) const;
  // Calls `callback` in key order on keys that have `prefix`, from `start` on (empty: from the first), until it returns
  // false. Views live for the call.
  Status scan(ColumnFamily cf, const std::string& prefix,
              const std::function<bool(std::string_view key, std::string_view value)>& callback,
              const std::string& start = "") const;

  std::string packs_dir() const;
  const std::string& dir() const;
  bool read_only() const;

  struct Impl;  // for this folder's sources

 private:
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tephra::storage
