// A checkpoint's manifest: which logical tensors there are, and which chunks hold their bytes. Plain values, no I/O.
// Everything is in logical (whole-tensor) coordinates, so that any number of ranks reads what any number wrote.
// Format: docs/store-format.md.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/hash.h"
#include "base/status.h"
#include "storage/chunk.h"

namespace tephra::storage {

// Where a chunk lies: `offset` bytes into packs/<pack>.pack.
struct ChunkLocation {
  std::string pack;
  uint64_t offset = 0;
  auto operator<=>(const ChunkLocation&) const = default;
};

enum class StateKind : uint8_t { kParameter = 1, kFirstMoment = 2, kSecondMoment = 3 };
std::string_view state_kind_name(StateKind kind);  // "parameter", "first_moment", "second_moment"

// Elements [begin, begin + count) of the row-major tensor are the bytes of `chunk` from `offset_in_chunk` on.
struct Piece {
  int64_t begin = 0;
  int64_t count = 0;
  ChunkRef chunk;
  uint64_t offset_in_chunk = 0;  // bytes
  auto operator<=>(const Piece&) const = default;
};

struct ManifestTensor {
  std::string name;
  StateKind kind = StateKind::kParameter;
  DType dtype = DType::kFloat32;
  Shape shape{};
  Hash128 content{};            // of the row-major bytes, see ContentHasher; set by Store::commit, zero before
  bool frozen = false;          // not trained by this job: shares its parent's chunks
  std::vector<Piece> pieces{};  // sorted by begin; cover the tensor exactly

  uint64_t logical_bytes() const { return static_cast<uint64_t>(numel(shape) * size_bytes(dtype)); }
};

struct Manifest {
  std::string job;    // letters, digits, '.', '_', '-'; "base" for imported models
  std::string stage;  // same
  int64_t step = 0;
  int64_t attempt = 0;
  int64_t created_unix_ms = 0;  // set by Store::commit when 0
  std::string parent;           // a checkpoint's name, or empty
  uint64_t sampler_position = 0;
  uint64_t seed = 0;
  std::string recipe_json;
  std::map<std::string, std::string>
      handover;  // what a later stage or evaluation must agree with: connector kind, template, ...
  std::map<std::string, double> metrics;
  std::string build;
  bool stage_complete = false;
  std::vector<ManifestTensor> tensors;  // sorted by (name, kind)
  Hash128 content_hash;                 // of the logical tensors whatever the world size; set by Store::commit
  uint64_t logical_bytes = 0;           // of all tensors; set by Store::commit
  uint64_t new_bytes = 0;               // of the chunks that this checkpoint added to the store; set by Store::commit
  uint64_t commit_sequence = 0;         // commits of this store count from 1; set by Store::commit

  std::string name() const;                                                     // "JOB/STAGE@STEP"
  const ManifestTensor* find(const std::string& tensor, StateKind kind) const;  // nullptr when absent
};

// "JOB/STAGE@STEP" for given parts.
std::string checkpoint_name(const std::string& job, const std::string& stage, int64_t step);
// Ok when `word` may be a job, stage or tag name: 1 to 128 of letters, digits, '.', '_', '-', not starting with '.'.
Status check_name(std::string_view what, std::string_view word);

// Ok when every field is in range, tensors are sorted and unique, and each tensor's pieces cover it exactly, without
// overlap and inside their chunks. kInvalidArgument names the tensor and the first element that is wrong.
Status validate(const Manifest& manifest);
Status validate_tensor(const ManifestTensor& tensor);  // one tensor of it

// A tensor's content: XXH3-128 over the hashes of its blocks, the kBlockBytes of its row-major bytes that start at each
// multiple of kBlockBytes. So it is known from what was hashed when it was written, without reading the bytes again, and
// is the same however many ranks wrote them. docs/store-format.md has it byte for byte.
class ContentHasher {
 public:
  ContentHasher();
  void add(std::span<const Hash128> blocks);  // the next ones
  Hash128 digest() const { return hasher_.digest(); }

 private:
  Hasher hasher_;
};

// Hash over the sorted (name, kind, dtype, shape, content) of all tensors; requires their `content` to be set.
Hash128 content_hash_of(const std::vector<ManifestTensor>& tensors);

// A manifest and the place of each of its chunks: what a rank needs to read a checkpoint without the index.
struct LocatedManifest {
  Manifest manifest;
  std::vector<std::pair<ChunkRef, ChunkLocation>> chunks;  // sorted, unique
  const ChunkLocation* find(const ChunkRef& chunk) const;  // nullptr when absent
};

// Bytes to send to a rank; decode validates ranges and the manifest, kCorruption on anything else.
std::string encode(const LocatedManifest& located);
Result<LocatedManifest> decode_located_manifest(std::string_view bytes);

// The index's two records of a checkpoint: the header (everything but the tensors; its presence is the checkpoint's
// existence) and the tensor table. decode_manifest_header leaves `tensors` empty.
std::string encode_manifest_header(const Manifest& manifest);
Result<Manifest> decode_manifest_header(std::string_view bytes);
std::string encode_manifest_tensors(const std::vector<ManifestTensor>& tensors);
Result<std::vector<ManifestTensor>> decode_manifest_tensors(std::string_view bytes);

}  // namespace tephra::storage
