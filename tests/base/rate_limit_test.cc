#include "base/rate_limit.h"

#include <gtest/gtest.h>

namespace tephra {
namespace {

TEST(RateLimit, AllowsABurstThenItsRate) {
  RateLimit limit(10, 5);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limit.take("a", 0), 0) << i;
  EXPECT_NEAR(limit.take("a", 0), 0.1, 1e-9);
  EXPECT_EQ(limit.take("b", 0), 0) << "another one's bucket";
  EXPECT_EQ(limit.take("a", 0.1), 0);
  EXPECT_GT(limit.take("a", 0.1), 0);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(limit.take("a", 100), 0) << "never more than the burst";
  EXPECT_GT(limit.take("a", 100), 0);
}

TEST(RateLimit, AChargeIsPaidBack) {
  RateLimit limit(10, 5);
  limit.charge("a", 0, 50);
  EXPECT_NEAR(limit.take("a", 0), 0.6, 1e-9) << "at most a burst below nothing";
  EXPECT_EQ(limit.take("a", 0.61), 0);
}

TEST(RateLimit, ForgetsTheLongestQuiet) {
  RateLimit limit(1, 1, 2);
  EXPECT_EQ(limit.take("a", 0), 0);
  EXPECT_EQ(limit.take("b", 0.1), 0);
  EXPECT_EQ(limit.take("c", 0.2), 0);  // "a" goes
  EXPECT_EQ(limit.take("a", 0.3), 0);
  EXPECT_GT(limit.take("c", 0.3), 0);
}

}  // namespace
}  // namespace tephra
