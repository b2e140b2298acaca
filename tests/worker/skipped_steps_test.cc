// Which samples a step that is not finite names, and when it ends the job.
#include "worker/skipped_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace tephra::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

sharding::StepStats stats_of(std::vector<double> losses) {
  sharding::StepStats stats;
  stats.loss = 0;
  for (const double loss : losses) stats.loss += loss;
  stats.loss_tokens = 8;
  stats.skipped = true;
  stats.micro_batch_losses = std::move(losses);
  return stats;
}

recipes::OptimizerRecipe recipe_of(const std::string& on_nonfinite, int64_t max_skipped_steps) {
  recipes::OptimizerRecipe recipe;
  recipe.on_nonfinite = on_nonfinite;
  recipe.max_skipped_steps = max_skipped_steps;
  return recipe;
}

TEST(SkippedSteps, TheSuspectsAreTheMicroBatchesAtFaultOrAll) {
  EXPECT_THAT(suspects(stats_of({1, kNaN, 2, std::numeric_limits<double>::infinity()})), ElementsAre(1, 3));
  EXPECT_THAT(suspects(stats_of({1, 2, 3})), ElementsAre(0, 1, 2)) << "only the gradient is not finite";
}

TEST(SkippedSteps, ARankNamesItsOwnSuspects) {
  StepSamples samples(2);
  for (size_t m = 0; m < 2; ++m) {
    samples[m].resize(2);
    for (size_t i = 0; i < 2; ++i) samples[m][i].id = std::to_string(4 + 2 * m + i);
  }
  EXPECT_EQ(suspect_ids({1, 3}, samples, 2), "6, 7");
  EXPECT_EQ(suspect_ids({2, 3}, samples, 2), "4, 5, 6, 7");
  EXPECT_EQ(suspect_ids({0, 1}, samples, 2), "");
}

TEST(SkippedSteps, SkipsUpToTheLimitInARow) {
  SkippedSteps skips(recipe_of("skip", 2), "align");
  const auto once = [&](int64_t step) { return skips.skipped(step, stats_of({1, kNaN}), {"a, b", "", "c"}); };
  const auto line = once(7);
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(
      *line,
      "step 7 of stage align: the loss of 1 of 2 micro-batches is not finite; the update was skipped (1 in a row, "
      "at most 2); samples: a, b, c");
  EXPECT_TRUE(once(8).ok());
  skips.went_well();
  EXPECT_EQ(skips.in_a_row(), 0);
  EXPECT_TRUE(once(10).ok());
  EXPECT_TRUE(once(11).ok());
  const Status failed = once(12).status();
  EXPECT_EQ(failed.code(), Code::kInvalidArgument);
  EXPECT_EQ(failed.retry_class(), RetryClass::kPermanent);
  EXPECT_EQ(failed.message(),
            "step 12 of stage align: the loss of 1 of 2 micro-batches is not finite, the 3rd such step in a row, and "
            "max_skipped_steps is 2; lower the learning rate, or look at the samples: a, b, c");
  // A restart in between does not begin the count anew.
  SkippedSteps again(recipe_of("skip", 2), "align", 2);
  EXPECT_FALSE(again.skipped(12, stats_of({kNaN}), {"a"}).ok());
}

TEST(SkippedSteps, FailsAtOnceWhereTheRecipeSaysSo) {
  SkippedSteps skips(recipe_of("fail", 2), "align");
  const Status failed = skips.skipped(3, stats_of({1, 2}), {"a", "b"}).status();
  EXPECT_EQ(failed.retry_class(), RetryClass::kPermanent);
  EXPECT_THAT(failed.message(), HasSubstr("step 3 of stage align: the losses are finite and their gradient is not"));
  EXPECT_THAT(failed.message(), HasSubstr("samples: a, b"));
}

TEST(SkippedSteps, AStepWithNothingToLearnIsNeverAFault) {
  SkippedSteps skips(recipe_of("fail", 1), "align");
  sharding::StepStats stats = stats_of({0, 0});
  stats.loss_tokens = 0;
  const auto line = skips.skipped(3, stats, {"a", "b"});
  ASSERT_TRUE(line.ok());
  EXPECT_THAT(*line, HasSubstr("no supervised token"));
  EXPECT_EQ(skips.in_a_row(), 0);
}

}  // namespace
}  // namespace tephra::worker
