// What every transport does the same way: the header that the ranks compare before a collective, and argument checks.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "cluster/communicator.h"

namespace tephra::cluster {

enum class CollectiveKind : uint32_t {
  kAllGather = 1,
  kReduceScatterTree = 2,
  kBroadcast = 3,
  kBarrier = 4,
  kReduceScatterFast = 5,
  kSplit = 6,
};

// 32 bytes, exchanged between all ranks before any data moves. Every rank of a gang is the same build on the same
// architecture, so it travels as it lies in memory.
struct CollectiveHeader {
  uint64_t sequence = 0;
  int64_t count = 0;  // elements of a shard (all_gather, reduce_scatter_*) or of the whole (broadcast)
  CollectiveKind kind = CollectiveKind::kBarrier;
  uint32_t dtype = 0;
  int32_t root = -1;  // of a broadcast
  uint32_t reserved = 0;

  std::string to_string() const;  // "all_gather #12 (1024 F32)"
  bool operator==(const CollectiveHeader&) const = default;
};
static_assert(sizeof(CollectiveHeader) == 32);

// headers[r] is rank r's. Ok when all are equal; otherwise kMismatch (retry class: new attempt) naming rank 0 and the
// first rank that differs from it, with both descriptions.
Status check_same_collective(std::span<const CollectiveHeader> headers);

// Broken calls are our own bugs: TEPHRA_CHECK.
CollectiveHeader all_gather_header(uint64_t sequence, const ConstBuffer& shard, const Buffer& full, int world_size);
CollectiveHeader reduce_scatter_header(uint64_t sequence, const Buffer& full, const Buffer& shard, int world_size);
CollectiveHeader reduce_scatter_fast_header(uint64_t sequence, const Buffer& full, const Buffer& shard, int world_size);
CollectiveHeader broadcast_header(uint64_t sequence, const Buffer& data, int root, int world_size);
CollectiveHeader barrier_header(uint64_t sequence);
CollectiveHeader split_header(uint64_t sequence);

Status peer_lost(int rank, std::string_view reason);  // kPeerLost, new attempt

}  // namespace tephra::cluster
