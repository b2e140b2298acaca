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

}  // namespace
}  // namespace tephra::sharding
