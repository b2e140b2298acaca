// Losses and norms add up to the same bits however many ranks the micro-batches and segments are spread over.
#include "sharding/exec/step_totals.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/random.h"

namespace tephra::sharding {
namespace {

GlobalTotals totals_over(int world, int micro_batches, int units) {
  std::vector<double> values;
  std::vector<int64_t> counts;
  const int local = micro_batches / world, segments = 64 / world;
  for (int r = 0; r < world; ++r) {
    LocalTotals mine;
    for (int m = r * local; m < (r + 1) * local; ++m) {
      mine.losses.push_back(random_normal({1, static_cast<uint64_t>(m)}));
      mine.loss_tokens += m + 1;
      mine.tokens += 10;
    }
    for (int u = 0; u < units; ++u) {
      for (int s = r * segments; s < (r + 1) * segments; ++s) {
        mine.squared_sums.push_back(random_unit({2, static_cast<uint64_t>(u), static_cast<uint64_t>(s)}));
      }
    }
    for (double value : pack_values(mine)) values.push_back(value);
    for (int64_t count : pack_counts(mine)) counts.push_back(count);
  }
  std::vector<int> ranks(world);
  std::iota(ranks.begin(), ranks.end(), 0);
  return combine(values, counts, world, local, units, ranks);
}

TEST(StepTotals, AreTheSameBitsAtEveryWorldSize) {
  for (int units : {0, 1, 3}) {
    const GlobalTotals one = totals_over(1, 24, units);
    EXPECT_EQ(one.loss_tokens, 24 * 25 / 2);
    EXPECT_EQ(one.tokens, 240);
    for (int world : {2, 4, 8}) {
      const GlobalTotals many = totals_over(world, 24, units);
      EXPECT_EQ(many.loss_sum, one.loss_sum) << "world size " << world;
      EXPECT_EQ(many.squared_sum, one.squared_sum) << "world size " << world;
      EXPECT_EQ(many.loss_tokens, one.loss_tokens);
      EXPECT_EQ(many.tokens, one.tokens);
    }
  }
}

}  // namespace
}  // namespace tephra::sharding
