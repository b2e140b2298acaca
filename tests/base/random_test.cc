// Counter-based randomness: values depend on the key alone, permute is a bijection, and the moments are roughly right.
#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace tephra {
namespace {

TEST(Random, IsAFunctionOfItsKey) {
  EXPECT_EQ(random_bits({1, 2, 3}), random_bits({1, 2, 3}));
  EXPECT_NE(random_bits({1, 2, 3}), random_bits({1, 3, 2}));
  EXPECT_NE(random_bits({1, 2}), random_bits({1, 2, 0}));
  EXPECT_NE(key_of("weight"), key_of("bias"));
}

TEST(Random, PermuteIsABijection) {
  for (uint64_t n : {1u, 2u, 3u, 4u, 5u, 7u, 16u, 17u, 100u, 1000u, 4097u}) {
    std::vector<bool> seen(n);
    for (uint64_t i = 0; i < n; ++i) {
      uint64_t j = permute(i, n, {42, n});
      ASSERT_LT(j, n);
      ASSERT_FALSE(seen[j]) << "n " << n << " index " << i;
      seen[j] = true;
    }
  }
}

TEST(Random, PermuteDependsOnItsKeyAndMovesThings) {
  int same_as_other_key = 0, fixed = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    same_as_other_key += permute(i, 1000, {1}) == permute(i, 1000, {2});
    fixed += permute(i, 1000, {1}) == i;
  }
  EXPECT_LT(same_as_other_key, 20);  // about 1 by chance
  EXPECT_LT(fixed, 20);
}

TEST(Random, PermuteOfAHugeDomainStaysInside) {
  const uint64_t n = (uint64_t{1} << 62) - 12345;
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 1000; ++i) {
    uint64_t j = permute(n - 1 - i, n, {7});
    ASSERT_LT(j, n);
    ASSERT_TRUE(seen.insert(j).second);
  }
}

TEST(RandomDeathTest, PermuteRefusesAnIndexOutside) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH((void)permute(5, 5, {1}), "out of range");
}

TEST(Random, BelowIsInRangeAndEven) {
  std::vector<int> counts(10);
  for (uint64_t i = 0; i < 10000; ++i) {
    uint64_t value = random_below(10, {3, i});
    ASSERT_LT(value, 10u);
    ++counts[value];
  }
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);  // five standard deviations of 30
}

TEST(Random, UnitAndNormalHaveTheirMoments) {
  const int n = 20000;
  double unit_sum = 0, sum = 0, squares = 0;
  for (uint64_t i = 0; i < n; ++i) {
    double u = random_unit({5, i}), z = random_normal({6, i});
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ASSERT_TRUE(std::isfinite(z));
    unit_sum += u;
    sum += z;
    squares += z * z;
  }
  EXPECT_NEAR(unit_sum / n, 0.5, 0.0103);  // 5 / sqrt(12 n)
  EXPECT_NEAR(sum / n, 0.0, 0.036);        // 5 / sqrt(n)
  EXPECT_NEAR(squares / n, 1.0, 0.05);     // 5 sqrt(2 / n)
}

}  // namespace
}  // namespace tephra
