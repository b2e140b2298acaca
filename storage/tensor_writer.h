// Tensors to chunks: each rank writes its ranges of the logical tensors into its own pack; merge() joins the ranks'
// summaries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "storage/manifest.h"
#include "storage/pack.h"

namespace tephra::storage {

// What one rank wrote; sent to the coordinator, which commits.
struct ShardSummary {
  PackSummary pack;
  std::vector<ManifestTensor> tensors;  // sorted by (name, kind); pieces are this rank's only
};
std::string encode(const ShardSummary& summary);
Result<ShardSummary> decode_shard_summary(std::string_view bytes);

// Used by one thread (a rank's writer).
class TensorWriter {
 public:
  // Called after each chunk with the bytes that were added so far; may wait, to spread the work.
  using AfterChunk = std::function<void(uint64_t bytes)>;

  static Result<std::unique_ptr<TensorWriter>> create(Env& env, const std::string& packs_dir,
                                                      const std::string& pack_name, AfterChunk after_chunk = {});

  // Adds elements [begin, begin + count) of a tensor of `shape` (row-major; `bytes` holds count * size_bytes(dtype) of
  // them, not kept). A tensor may come in several calls, in any order; count 0 only declares it. kInvalidArgument when
  // the range is outside the shape or dtype or shape differ from an earlier call; otherwise the pack's errors.
  Status add(const std::string& name, StateKind kind, DType dtype, const Shape& shape, int64_t begin, int64_t count,
             const std::byte* bytes);

  // Seals the pack. Once, last. A writer that added nothing seals an empty pack.
  Result<ShardSummary> finish();

  uint64_t size_bytes() const { return pack_->size_bytes(); }

 private:
  TensorWriter(std::unique_ptr<PackWriter> pack, AfterChunk after_chunk)
      : pack_(std::move(pack)), after_chunk_(std::move(after_chunk)) {}

  std::unique_ptr<PackWriter> pack_;
  const AfterChunk after_chunk_;
  uint64_t added_bytes_ = 0;
  std::map<std::pair<std::string, StateKind>, ManifestTensor> tensors_;
};

// Joins several ranks' pieces into whole tensors, sorted by (name, kind). Ranges that several ranks wrote alike
// (replicas) are kept once. kMismatch, with the tensor's name, when dtype or shape differ between ranks or the pieces
// leave a hole or overlap.
Result<std::vector<ManifestTensor>> merge(const std::vector<ShardSummary>& shards);

}  // namespace tephra::storage
