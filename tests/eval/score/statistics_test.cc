// Intervals and tests against published or hand-computed values.
#include "eval/score/statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tephra::eval {
namespace {

TEST(WilsonInterval, MeetsKnownValues) {
  const Interval half = wilson_interval(50, 100);
  EXPECT_NEAR(half.low, 0.40383, 1e-5);
  EXPECT_NEAR(half.high, 0.59617, 1e-5);
  EXPECT_EQ(wilson_interval(0, 10).low, 0);
  EXPECT_NEAR(wilson_interval(0, 10).high, 0.27753, 1e-5);
  EXPECT_EQ(wilson_interval(10, 10).high, 1);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

TEST(BootstrapInterval, CoversTheMeanAndIsDeterministic) {
  std::vector<double> values;
  for (int i = 0; i < 200; ++i) values.push_back(i % 2);
  const Interval interval = bootstrap_interval(values, 1);
  const double spread = std::sqrt(0.25 / 200);  // standard error of the mean
  EXPECT_NEAR(interval.low, 0.5 - 1.96 * spread, 0.02);
  EXPECT_NEAR(interval.high, 0.5 + 1.96 * spread, 0.02);
  EXPECT_EQ(bootstrap_interval(values, 1).low, interval.low);
  EXPECT_EQ(bootstrap_interval({0.25, 0.25}, 3).high, 0.25);
  EXPECT_EQ(bootstrap_interval({}, 1).high, 0);
}

TEST(BootstrapQuotientInterval, IsOfTheQuotientOfTheSums) {
  // Two questions: the draws are both of one or one of each, so the ends are the questions' own quotients.
  const Interval two = bootstrap_quotient_interval({30, 20}, {30, 10}, 1);
  EXPECT_EQ(two.low, 1);
  EXPECT_EQ(two.high, 2);
  // Draws of nothing but zeros below the line are left out.
  const Interval sparse = bootstrap_quotient_interval({0, 1}, {0, 2}, 1);
  EXPECT_EQ(sparse.low, 0.5);
  EXPECT_EQ(sparse.high, 0.5);
  EXPECT_EQ(bootstrap_quotient_interval({1}, {0}, 1).high, 0) << "no quotient at all";
  const std::vector<double> values = {0.1, 0.7, 0.2, 0.9};
  EXPECT_EQ(bootstrap_quotient_interval(values, {1, 1, 1, 1}, 5).low, bootstrap_interval(values, 5).low);
}

TEST(MajorityBaseline, BreaksTiesByName) {
  const MajorityBaseline tie = majority_baseline({"B", "A", "B", "A", "C"});
  EXPECT_EQ(tie.answer, "A");
  EXPECT_EQ(tie.correct, 2);
  EXPECT_EQ(tie.count, 5);
  EXPECT_EQ(majority_baseline({}).count, 0);
}

TEST(ChanceLevel, AveragesOneOverChoices) {
  EXPECT_DOUBLE_EQ(chance_level({2, 4}), 0.375);
  EXPECT_EQ(chance_level({}), 0);
}

TEST(McNemar, IsTheExactBinomialTest) {
  std::vector<bool> first, second;
  for (int i = 0; i < 8; ++i) first.push_back(i == 0), second.push_back(i != 0);  // 1 against 7 of 8 discordant pairs
  EXPECT_NEAR(mcnemar_p_value(first, second), 2.0 * (1 + 8) / 256, 1e-12);
  EXPECT_EQ(mcnemar_p_value({true, false}, {true, false}), 1);
  EXPECT_EQ(mcnemar_p_value({true, false}, {false, true}), 1);
  std::vector<bool> all(3000, true), none(3000, false);
  EXPECT_LT(mcnemar_p_value(all, none), 1e-300);
}

}  // namespace
}  // namespace tephra::eval
