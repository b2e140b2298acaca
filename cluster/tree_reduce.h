// The reduce-scatter in a fixed tree, written once for all transports: recursive halving (Thakur, Rabenseifner and
// Gropp 2005) with distance 1 first. In the round of distance d rank r trades with r xor d: it keeps the slices whose
// index agrees with r in bit d, sends the others, and adds what it gets. After the rounds 1, 2, 4, ... slice r at rank
// r holds
// ((r0+r1)+(r2+r3))+.... Nearest first costs strided slices (the kept ones are r mod 2d), which are sent one by one.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "cluster/communicator.h"

namespace tephra::cluster {

// One round, as one rank sees it. sent[i] and kept[i] are slice indices in rising order; the peer's kept slices are this
// rank's sent ones, in the same order.
struct TreeRound {
  int peer = 0;
  bool last = false;  // one slice is left, the result
  std::vector<int> sent;
  std::vector<int> kept;
};
// The rounds of `rank`, first to last; none when world_size (a power of two) is 1.
std::vector<TreeRound> tree_rounds(int rank, int world_size);

// The primitive of a transport: two ranks trade pieces, both ways at once.
class PairExchange {
 public:
  virtual ~PairExchange() = default;
  // Called for consecutive parts of an incoming piece, each float exactly once: `offset` counts floats within the
  // piece. `data` is valid during the call only.
  using Consume = std::function<void(size_t piece, size_t offset, std::span<const float> data)>;
  // Sends `outgoing` to `peer` and gives the peer's pieces, of the same number and lengths, to `consume`. Returns when
  // the outgoing memory may be written again.
  virtual Status exchange(int peer, std::span<const std::span<const float>> outgoing, const Consume& consume,
                          Deadline deadline) = 0;
};

// `full` has world_size slices of shard.size() floats and is used as scratch; the tree's sum of slice `rank` goes to
// `shard`, which may be that slice of `full` itself.
Status reduce_scatter_tree(PairExchange& transport, int rank, int world_size, std::span<float> full,
                           std::span<float> shard, Deadline deadline);

}  // namespace tephra::cluster
