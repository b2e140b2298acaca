// The order is a bijection of every epoch, and a pure function of its key.
#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace tephra::data {
namespace {

std::vector<uint64_t> epoch_order(uint64_t seed, uint64_t epoch, uint64_t n) {
  std::vector<uint64_t> order;
  for (uint64_t p = 0; p < n; ++p) order.push_back(sample_at(seed, epoch, n, p));
  return order;
}

TEST(Sampler, EveryEpochIsABijection) {
  for (uint64_t n : {1, 2, 3, 7, 64, 100, 1000, 4097}) {
    const auto order = epoch_order(17, 3, n);
    EXPECT_EQ(std::set<uint64_t>(order.begin(), order.end()).size(), n);
    EXPECT_LT(*std::max_element(order.begin(), order.end()), n);
  }
}

TEST(Sampler, SeedAndEpochDecideTheOrderAndNothingElseDoes) {
  EXPECT_EQ(epoch_order(1, 0, 100), epoch_order(1, 0, 100));
  EXPECT_NE(epoch_order(1, 0, 100), epoch_order(2, 0, 100));
  EXPECT_NE(epoch_order(1, 0, 100), epoch_order(1, 1, 100));
}

TEST(Sampler, PositionsRunOnOverEpochs) {
  SampleOrder order{5, 10, true};
  std::set<uint64_t> first, second;
  for (uint64_t p = 0; p < 10; ++p) first.insert(order.index_at(p));
  for (uint64_t p = 10; p < 20; ++p) {
    second.insert(order.index_at(p));
    EXPECT_EQ(order.epoch_of(p), 1u);
    EXPECT_EQ(order.index_at(p), sample_at(5, 1, 10, p - 10));
  }
  EXPECT_EQ(first.size(), 10u);
  EXPECT_EQ(second.size(), 10u);
  order.shuffle = false;
  EXPECT_EQ(order.index_at(13), 3u);
}

// Each place of the order takes each value about equally often.
TEST(Sampler, ShufflesEvenly) {
  const int n = 8, rounds = 8000;
  std::vector<int> counts(n * n);
  for (int epoch = 0; epoch < rounds; ++epoch) {
    for (int p = 0; p < n; ++p) ++counts[p * n + sample_at(99, epoch, n, p)];
  }
  for (int count : counts) EXPECT_NEAR(count, double{rounds} / n, 200);  // 6.5 standard deviations
}

}  // namespace
}  // namespace tephra::data
