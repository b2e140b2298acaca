// Gates as recipes write them, what is said of wrong ones, and when they pass.
#include "recipes/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tephra::recipes {
namespace {

using ::testing::HasSubstr;

TEST(ParseGate, KnowsBarsAndTheStageBefore) {
  const Gate bar = *parse_gate("scienceqa.avg >= 45%");
  EXPECT_EQ(bar.bench, "scienceqa");
  EXPECT_EQ(bar.metric, "avg");
  EXPECT_DOUBLE_EQ(bar.margin, 0.45);
  EXPECT_FALSE(bar.previous);
  const Gate before = *parse_gate("heldout.loss < previous + 0.05 - ci");
  EXPECT_TRUE(before.previous);
  EXPECT_DOUBLE_EQ(before.margin, 0.05);
  EXPECT_EQ(before.ci, -1);
  EXPECT_EQ(before.comparison, "<");
}

TEST(ParseGate, SaysWhatIsWrong) {
  const auto message = [](const char* text) { return parse_gate(text).status().message(); };
  EXPECT_THAT(message("scienceqa"), HasSubstr("a gate is BENCH.METRIC"));
  EXPECT_THAT(message("scienceqa >= 4"), HasSubstr("'scienceqa' is not BENCH.METRIC"));
  EXPECT_THAT(message("a.b == 4"), HasSubstr("'==' is no comparison"));
  EXPECT_THAT(message("a.b >= four"), HasSubstr("'four' is neither a number nor previous"));
  EXPECT_THAT(message("a.b >= 4x"), HasSubstr("'4x' is neither"));
  EXPECT_THAT(message("a.b >= 4 - ci"), HasSubstr("only previous can be added to"));
  EXPECT_THAT(message("a.b >= previous -"), HasSubstr("behind previous stands"));
  EXPECT_THAT(message("a.b >= previous - x"), HasSubstr("'x' is neither a number nor ci"));
}

TEST(JudgeGate, ComparesWithTheBarOrWithTheStageBefore) {
  const auto judge = [](const char* text, std::optional<double> value, std::optional<double> before) {
    return judge_gate(*parse_gate(text), value, before, 0.02);
  };
  EXPECT_TRUE(judge("a.b >= 0.5", 0.5, {}).passed);
  EXPECT_FALSE(judge("a.b > 0.5", 0.5, {}).passed);
  EXPECT_TRUE(judge("a.b <= 0.5", 0.5, {}).passed);
  EXPECT_FALSE(judge("a.b < 0.5", 0.5, {}).passed);
  EXPECT_TRUE(judge("a.b >= previous - ci", 0.59, 0.6).passed);
  const GateOutcome failed = judge("a.b >= previous - ci", 0.57, 0.6);
  EXPECT_FALSE(failed.passed);
  EXPECT_EQ(failed.said, "a.b 0.57 >= 0.58 (previous 0.6 - ci 0.02): failed");
  EXPECT_TRUE(judge("a.b >= previous", 0.1, {}).passed);
  EXPECT_THAT(judge("a.b >= previous", 0.1, {}).said, HasSubstr("no earlier stage"));
  EXPECT_FALSE(judge("a.b >= 0.1", {}, {}).passed);
  EXPECT_THAT(judge("a.b >= 0.1", {}, {}).said, HasSubstr("was not measured"));
}

}  // namespace
}  // namespace tephra::recipes
