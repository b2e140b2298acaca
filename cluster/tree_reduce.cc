#include "cluster/tree_reduce.h"

#include <cstring>

namespace tephra::cluster {
namespace {
// GCC's -O2 leaves a plain loop of unknown length scalar, so the width is written out; the sums are the same bits
// either way.
typedef float Wide __attribute__((vector_size(32), aligned(4), may_alias));

// out = lower + upper, lower ranks on the left: addition commutes except for which NaN survives. `out` may be either
// input.
void add(const float* lower, const float* upper, float* out, size_t count) {
  constexpr size_t kLanes = sizeof(Wide) / sizeof(float);
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    *reinterpret_cast<Wide*>(out + i) =
        *reinterpret_cast<const Wide*>(lower + i) + *reinterpret_cast<const Wide*>(upper + i);
  }
  for (; i < count; ++i) out[i] = lower[i] + upper[i];
}
}  // namespace

std::vector<TreeRound> tree_rounds(int rank, int world_size) {
  std::vector<TreeRound> rounds;
  for (int distance = 1; distance < world_size; distance *= 2) {
    TreeRound& round = rounds.emplace_back();
    round.peer = rank ^ distance;
    round.last = distance * 2 == world_size;
    // Both ends agree in the bits below `distance`, so the i-th slice that one sends is the i-th that the other keeps.
    for (int index = rank % distance; index < world_size; index += distance) {
      ((index & distance) == (rank & distance) ? round.kept : round.sent).push_back(index);
    }
  }
  return rounds;
}

Status reduce_scatter_tree(PairExchange& transport, int rank, int world_size, std::span<float> full,
                           std::span<float> shard, Deadline deadline) {
  const size_t slice_size = shard.size();
  auto slice = [&](int index) { return full.subspan(static_cast<size_t>(index) * slice_size, slice_size); };

  for (const TreeRound& round : tree_rounds(rank, world_size)) {
    std::vector<std::span<const float>> outgoing;
    for (int index : round.sent) outgoing.push_back(slice(index));
    auto consume = [&](size_t piece, size_t offset, std::span<const float> theirs) {
      float* mine = slice(round.kept[piece]).data() + offset;
      float* out = round.last ? shard.data() + offset : mine;  // the last round keeps one slice, the result
      if (round.peer < rank) {
        add(theirs.data(), mine, out, theirs.size());
      } else {
        add(mine, theirs.data(), out, theirs.size());
      }
    };
    TEPHRA_RETURN_IF_ERROR(transport.exchange(round.peer, outgoing, consume, deadline));
  }
  if (world_size == 1 && shard.data() != full.data()) std::memmove(shard.data(), full.data(), shard.size_bytes());
  return {};
}

}  // namespace tephra::cluster
