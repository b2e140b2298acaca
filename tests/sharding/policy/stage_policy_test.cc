#include "sharding/policy/stage_policy.h"

#include <gtest/gtest.h>

namespace tephra::sharding {
namespace {

recipes::StageRecipe stage() {
  recipes::StageRecipe stage;
  stage.name = "align";
  stage.global_batch = 32;
  stage.micro_batch = 4;
  return stage;
}

TEST(StagePolicy, TakesEveryKeyOfTheRecipe) {
  recipes::StageRecipe recipe = stage();
  recipe.sharding = {.shard = "gradients",
                     .reshard_after_forward = false,
                     .recompute = "3",
                     .prefetch = "5",
                     .group_ranks = 2,
                     .reduction = "fast",
                     .offload = "optimizer"};
  recipe.checkpoint.when_busy = "replace";
  const auto policy = stage_policy(recipe, 4);
  ASSERT_TRUE(policy.ok()) << policy.status().to_string();
  EXPECT_EQ(policy->world_size, 4);
  EXPECT_EQ(policy->micro_batches, 2);
  EXPECT_EQ(policy->shard, ShardLevel::kGradients);
  EXPECT_FALSE(policy->reshard_after_forward);
  EXPECT_EQ(policy->recompute_every, 3);
  EXPECT_EQ(policy->prefetch, 5);
  EXPECT_EQ(policy->group_ranks, 2);
  EXPECT_EQ(policy->reduction, Reduction::kFast);
  EXPECT_EQ(policy->moments, 2);
  EXPECT_EQ(policy->held_snapshots, 2);
  EXPECT_EQ(policy->offload, Offload::kOptimizer);
}

TEST(StagePolicy, TakesOffloadedParameters) {
  recipes::StageRecipe recipe = stage();
  recipe.sharding.offload = "parameters";
  const auto policy = stage_policy(recipe, 2);
  ASSERT_TRUE(policy.ok());
  EXPECT_EQ(policy->offload, Offload::kParameters);
}

TEST(StagePolicy, LeavesOffloadOutByDefault) {
  const auto policy = stage_policy(stage(), 1);
  ASSERT_TRUE(policy.ok());
  EXPECT_EQ(policy->offload, Offload::kNone);
  EXPECT_EQ(policy->held_snapshots, 1);
}

TEST(StagePolicy, RefusesABatchThatCannotBeSharedOut) {
  const auto policy = stage_policy(stage(), 16);
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), Code::kInvalidArgument);
  EXPECT_NE(policy.status().to_string().find("micro_batch=2 or a divisor of it"), std::string::npos)
      << policy.status().to_string();
}

}  // namespace
}  // namespace tephra::sharding
