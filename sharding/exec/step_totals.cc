#include "sharding/exec/step_totals.h"

#include "base/check.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {
namespace {

double tree_sum(const std::vector<double>& leaves) {
  const std::vector<int> merges = tree_merges(static_cast<int>(leaves.size()));
  std::vector<double> stack;
  for (size_t i = 0; i < leaves.size(); ++i) {
    stack.push_back(leaves[i]);
    for (int m = 0; m < merges[i]; ++m) {
      const double right = stack.back();
      stack.pop_back();
      stack.back() += right;
    }
  }
  return stack.back();
}

}  // namespace

std::vector<double> pack_values(const LocalTotals& local) {
  std::vector<double> values = local.losses;
  values.insert(values.end(), local.squared_sums.begin(), local.squared_sums.end());
  return values;
}

std::vector<int64_t> pack_counts(const LocalTotals& local) { return {local.loss_tokens, local.tokens}; }

GlobalTotals combine(std::span<const double> values, std::span<const int64_t> counts, int world_size, int micro_batches,
                     int units, const std::vector<int>& rank_of_part) {
  TEPHRA_CHECK(counts.size() == 2 * static_cast<size_t>(world_size), "two counts a rank");
  const size_t stride = values.size() / world_size;
  const size_t segments = units == 0 ? 0 : (stride - micro_batches) / units;  // of one unit on one rank
  TEPHRA_CHECK(values.size() == world_size * (micro_batches + segments * units), "equal messages from all ranks");
  GlobalTotals total;
  TEPHRA_CHECK(rank_of_part.size() == static_cast<size_t>(world_size), "each rank has one part");
  for (size_t r = 0; r < static_cast<size_t>(world_size); ++r) {
    total.losses.insert(total.losses.end(), values.begin() + r * stride, values.begin() + r * stride + micro_batches);
    total.loss_tokens += counts[2 * r];
    total.tokens += counts[2 * r + 1];
  }
  total.loss_sum = tree_sum(total.losses);
  for (int u = 0; u < units; ++u) {
    for (const int r : rank_of_part) {
      for (size_t s = 0; s < segments; ++s) total.squared_sum += values[r * stride + micro_batches + u * segments + s];
    }
  }
  return total;
}

}  // namespace tephra::sharding
