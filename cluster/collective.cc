#include "cluster/collective.h"

#include <bit>

namespace tephra::cluster {
namespace {
std::string_view kind_name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllGather: return "all_gather";
    case CollectiveKind::kReduceScatterTree: return "reduce_scatter_tree";
    case CollectiveKind::kBroadcast: return "broadcast";
    case CollectiveKind::kBarrier: return "barrier";
    case CollectiveKind::kReduceScatterFast: return "reduce_scatter_fast";
    case CollectiveKind::kSplit: return "split";
  }
  return "unknown collective";
}
}  // namespace

std::string CollectiveHeader::to_string() const {
  std::string text = std::string(kind_name(kind)) + " #" + std::to_string(sequence);
  if (kind == CollectiveKind::kBarrier || kind == CollectiveKind::kSplit) return text;
  text += " (" + std::to_string(count) + " " + std::string(dtype_name(static_cast<DType>(dtype)));
  if (kind == CollectiveKind::kBroadcast) text += " from rank " + std::to_string(root);
  return text + ")";
}

Status check_same_collective(std::span<const CollectiveHeader> headers) {
  for (size_t r = 1; r < headers.size(); ++r) {
    if (headers[r] == headers[0]) continue;
    // A mismatch is a fault of one attempt's state (or of our schedule); a new attempt from the last commit is the
    // remedy.
    return {Code::kMismatch, RetryClass::kNewAttempt,
            "rank 0 is in " + headers[0].to_string() + " while rank " + std::to_string(r) + " is in " +
                headers[r].to_string()};
  }
  return {};
}

CollectiveHeader all_gather_header(uint64_t sequence, const ConstBuffer& shard, const Buffer& full, int world_size) {
  TEPHRA_CHECK(full.count == shard.count * world_size, "all_gather: full is not world size times the shard");
  TEPHRA_CHECK(full.dtype == shard.dtype, "all_gather: shard and full differ in dtype");
  return {sequence, shard.count, CollectiveKind::kAllGather, static_cast<uint32_t>(shard.dtype)};
}

CollectiveHeader reduce_scatter_header(uint64_t sequence, const Buffer& full, const Buffer& shard, int world_size) {
  TEPHRA_CHECK(std::has_single_bit(static_cast<unsigned>(world_size)),
               "reduce_scatter_tree: world size is no power of two");
  TEPHRA_CHECK(full.count == shard.count * world_size, "reduce_scatter_tree: full is not world size times the shard");
  TEPHRA_CHECK(full.dtype == DType::kFloat32 && shard.dtype == DType::kFloat32, "reduce_scatter_tree: not float32");
  return {sequence, shard.count, CollectiveKind::kReduceScatterTree, static_cast<uint32_t>(shard.dtype)};
}

CollectiveHeader reduce_scatter_fast_header(uint64_t sequence, const Buffer& full, const Buffer& shard,
                                            int world_size) {
  TEPHRA_CHECK(full.count == shard.count * world_size, "reduce_scatter_fast: full is not world size times the shard");
  TEPHRA_CHECK(full.dtype == DType::kFloat32 && shard.dtype == DType::kFloat32, "reduce_scatter_fast: not float32");
  const auto* begin = static_cast<const float*>(full.data);
  const auto* out = static_cast<const float*>(shard.data);
  TEPHRA_CHECK(shard.count == 0 || out + shard.count <= begin || begin + full.count <= out,
               "reduce_scatter_fast: the shard lies in full");
  return {sequence, shard.count, CollectiveKind::kReduceScatterFast, static_cast<uint32_t>(shard.dtype)};
}

CollectiveHeader broadcast_header(uint64_t sequence, const Buffer& data, int root, int world_size) {
  TEPHRA_CHECK(root >= 0 && root < world_size, "broadcast: root is no rank");
  return {sequence, data.count, CollectiveKind::kBroadcast, static_cast<uint32_t>(data.dtype), root};
}

CollectiveHeader barrier_header(uint64_t sequence) { return {sequence, 0, CollectiveKind::kBarrier}; }
CollectiveHeader split_header(uint64_t sequence) { return {sequence, 0, CollectiveKind::kSplit}; }

Status peer_lost(int rank, std::string_view reason) {
  return {Code::kPeerLost, RetryClass::kNewAttempt,
          "rank " + std::to_string(rank) + " left the group: " + std::string(reason)};
}

}  // namespace tephra::cluster
