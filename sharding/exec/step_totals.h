// What the ranks tell each other once a step: losses, token counts and squared gradient sums, and how each rank adds
// them up to the same bits whatever the world size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tephra::sharding {

struct LocalTotals {
  std::vector<double> losses;  // loss sum of each local micro-batch
  int64_t loss_tokens = 0;
  int64_t tokens = 0;
  std::vector<double> squared_sums;  // of this rank's segments of each unit in turn; the same number of segments a unit
};

struct GlobalTotals {
  std::vector<double> losses;  // of all ranks' micro-batches
  double loss_sum = 0;         // in the micro-batch tree's order
  int64_t loss_tokens = 0;
  int64_t tokens = 0;
  double squared_sum = 0;  // unit after unit, segment after segment
};

// The two messages of a rank: equal sizes on all ranks.
std::vector<double> pack_values(const LocalTotals& local);
std::vector<int64_t> pack_counts(const LocalTotals& local);

// values, counts: the ranks' messages one after another. units: that squared_sums speaks of. rank_of_part: the ranks in
// the order in which their segments lie in a unit.
GlobalTotals combine(std::span<const double> values, std::span<const int64_t> counts, int world_size, int micro_batches,
                     int units, const std::vector<int>& rank_of_part);

}  // namespace tephra::sharding
