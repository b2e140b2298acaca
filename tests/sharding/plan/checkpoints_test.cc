// A checkpoint is parameters and moments of what learns; one is written each so many steps and one at the end.
#include "sharding/plan/checkpoints.h"

#include <gtest/gtest.h>

namespace tephra::sharding {
namespace {

TEST(Checkpoints, HoldThreeValuesForEachThatLearns) {
  std::vector<UnitSpec> units(2);
  units[0].tensors = {{"frozen", {1000, 1000}}};
  units[1].tensors = {{"a", {10, 7}}, {"b", {3}}};
  units[1].trainable = true;
  layout(units);
  EXPECT_EQ(checkpoint_bytes(units, 2), 73 * 3 * 4);  // padding is not written
  EXPECT_EQ(checkpoint_bytes(units, 0), 73 * 4);      // SGD without momentum
}

TEST(Checkpoints, CountTheLastStepOnce) {
  EXPECT_EQ(checkpoint_count(12, 4), 3);
  EXPECT_EQ(checkpoint_count(13, 4), 4);
  EXPECT_EQ(checkpoint_count(3, 4), 1);
  EXPECT_EQ(checkpoint_count(100, 0), 1);
  EXPECT_EQ(checkpoint_count(0, 4), 0);
}

TEST(Checkpoints, ThePeakIsWhatTheRulesKeepAndTheOneJustWritten) {
  const int64_t one = 100;
  EXPECT_EQ(checkpoint_peak(100, 10, {}, one), 10) << "no rule keeps all";
  EXPECT_EQ(checkpoint_peak(100, 10, {.best_tag = true}, one), 10);
  EXPECT_EQ(checkpoint_peak(100, 10, {.last = 3}, one), 4);
  EXPECT_EQ(checkpoint_peak(100, 10, {.best = 1}, one), 3) << "the newest stays too";
  EXPECT_EQ(checkpoint_peak(100, 10, {.last = 2, .best_tag = true}, one), 4);
  EXPECT_EQ(checkpoint_peak(100, 10, {.last = 1, .every_steps = 50}, one), 4);
  EXPECT_EQ(checkpoint_peak(100, 10, {.last = 50}, one), 10) << "no more than there are";
  EXPECT_EQ(checkpoint_peak(100, 10, {.max_bytes = 450}, one), 5);
  EXPECT_EQ(checkpoint_peak(100, 10, {.max_bytes = 1}, one), 2);
  EXPECT_EQ(checkpoint_peak(100, 10, {.last = 2, .max_bytes = 450}, one), 3);
  EXPECT_EQ(checkpoint_peak(0, 10, {.last = 2}, one), 0);
}

}  // namespace
}  // namespace tephra::sharding
