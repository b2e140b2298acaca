// The rates that a step hands to the executor: one schedule, and the connector's own peak.
#include "worker/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tephra::worker {
namespace {

using ::testing::ElementsAre;

TEST(LearningRates, TheConnectorHasItsOwnPeakAndTheSameCourse) {
  recipes::StageRecipe stage;
  stage.optimizer.lr = 1e-3;
  stage.schedule = {"linear", 0.2};  // of 10 steps 2 warm up, 8 fall
  std::vector<sharding::UnitSpec> units(3);
  units[0].group = "vision";
  units[1].group = "connector";
  units[2].group = "llm";
  EXPECT_THAT(learning_rates(stage, units, 2, 10), ElementsAre(1e-3, 1e-3, 1e-3));
  stage.optimizer.connector_lr = 8e-2;
  EXPECT_THAT(learning_rates(stage, units, 0, 10), ElementsAre(0, 0, 0));
  EXPECT_THAT(learning_rates(stage, units, 1, 10), ElementsAre(0.5e-3, 4e-2, 0.5e-3));
  EXPECT_THAT(learning_rates(stage, units, 2, 10), ElementsAre(1e-3, 8e-2, 1e-3));
  EXPECT_THAT(learning_rates(stage, units, 6, 10), ElementsAre(0.5e-3, 4e-2, 0.5e-3));
}

}  // namespace
}  // namespace tephra::worker
