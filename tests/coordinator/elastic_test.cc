// What is proved, with real mpirun gangs of fake ranks: an elastic job starts on the ranks that there are slots for, is given
// more when they come free, and its checkpoints are those of a job that had all of them from the start.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "coordinator/coordinator.h"
#include "fake_worker.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"
#include "tests/base/temp_dir.h"
#include "tests/coordinator/ear.h"
#include "tests/coordinator/running.h"
#include "victim.h"

namespace tephra::coordinator {
namespace {

using std::chrono::seconds;

std::string elastic_recipe(const std::string& dir, int ranks, int ranks_min, double resize_after_s) {
  auto recipe = *recipes::from_json(make_recipe(dir, ranks, 5));
  recipe.gang.ranks_min = ranks_min;
  recipe.gang.resize_after_s = resize_after_s;
  return recipes::to_json(recipe);
}

TEST(Elastic, StartsOnFreeSlotsGrowsWhenMoreComeFreeAndEndsWithTheSameBits) {
  TempDir dir;
  std::string undisturbed;
  {
    auto coordinator = start(dir / "whole", 4);
    ASSERT_TRUE(coordinator->submit(make_recipe(dir.path(), 4, 5), "tester").ok());
    ASSERT_EQ(ended(*coordinator, "demo-1").phase, Phase::kDone);
    undisturbed = content_of(*coordinator, "demo-1/more@5");
  }
  Plan plan(R"({"hold": {"attempt": 1, "stage": "lm", "step": 4}, "last_words": true})");
  auto coordinator = start(dir / "store", 4);
  Ear ear(*coordinator, "");
  ASSERT_TRUE(coordinator->submit(make_recipe(dir.path(), 2, 5), "tester").ok());
  ASSERT_TRUE(coordinator->submit(elastic_recipe(dir.path(), 4, 1, 0), "tester").ok());
  ASSERT_TRUE(ear.wait_for([](const JobEvent& e) { return e.checkpoint == "demo-2/lm@2"; }));
  const JobView on_two = *coordinator->get("demo-2");
  EXPECT_EQ(on_two.state.world, 2);
  EXPECT_EQ(on_two.ranks.size(), 2u);
  EXPECT_EQ(on_two.state.world_reason, "no more slots were free when it was given them");
  ASSERT_TRUE(coordinator->cancel("demo-1", "enough").ok());
  const JobState state = ended(*coordinator, "demo-2");
  EXPECT_EQ(state.phase, Phase::kDone) << state.reason;
  EXPECT_EQ(state.world, 4);
  EXPECT_EQ(state.world_reason, "");
  EXPECT_EQ(state.attempt, 2u);
  EXPECT_EQ(state.restarts_total, 0) << "a resize is no restart";
  EXPECT_EQ(state.stages[0].checkpoints[1], "demo-2/lm@3") << "committed when it was resized";
  EXPECT_EQ(content_of(*coordinator, "demo-2/more@5"), undisturbed);
  const auto history = coordinator->history("demo-2", 0, 0);
  ASSERT_TRUE(history.ok());
  std::string told;
  for (const JournaledEvent& event : *history)
    if (event.name == "scheduled" || event.name == "resize_requested") told += event.text + "\n";
  EXPECT_EQ(told,
            "slots are free for 2 of 4 ranks; preparing data and base model\n"
            "goes on with 4 ranks in place of 2: slots are free and nobody waits for them\n");
}

TEST(Elastic, KeepsItsRanksWhileAnotherWaitsAndForATimeAfterItGotThem) {
  TempDir dir;
  Plan plan(R"({"hold": {"attempt": 1, "stage": "lm", "step": 4}, "last_words": true})");
  auto coordinator = start(dir / "store", 4);
  Ear ear(*coordinator, "");
  const auto held = [&](const char* checkpoint) {
    return ear.wait_for([&](const JobEvent& e) { return e.checkpoint == checkpoint; });
  };
  ASSERT_TRUE(coordinator->submit(make_recipe(dir.path(), 2, 5), "tester").ok());
  ASSERT_TRUE(coordinator->submit(elastic_recipe(dir.path(), 4, 1, 0), "tester").ok());
  ASSERT_TRUE(held("demo-2/lm@2"));
  ASSERT_TRUE(coordinator->submit(make_recipe(dir.path(), 2, 5), "tester").ok());
  ASSERT_TRUE(coordinator->cancel("demo-1", "enough").ok());
  ASSERT_TRUE(held("demo-3/lm@2")) << "which waited";
  EXPECT_EQ(coordinator->get("demo-2")->state.attempt, 1u);
  ASSERT_TRUE(coordinator->submit(elastic_recipe(dir.path(), 4, 1, 3600), "tester").ok());
  ASSERT_TRUE(coordinator->cancel("demo-2", "enough").ok());
  ASSERT_TRUE(held("demo-4/lm@2"));
  ASSERT_TRUE(coordinator->cancel("demo-3", "enough").ok());
  EXPECT_EQ(ended(*coordinator, "demo-3").phase, Phase::kCancelled);
  // The queue looks again whenever it is asked for.
  EXPECT_EQ(coordinator->page({})->jobs.back().state.attempt, 1u);
  EXPECT_EQ(coordinator->page({})->jobs.back().state.world, 2);
}

TEST(Elastic, IsRefusedOnlyWhenItsLeastDoesNotFit) {
  TempDir dir;
  auto coordinator = start(dir / "store", 1);
  const Result<std::string> refused = coordinator->submit(elastic_recipe(dir.path(), 4, 2, 0), "tester");
  EXPECT_EQ(refused.status().message(),
            "recipe wants at least 2 ranks x 1 threads but this machine has 1 slots; set gang.ranks_min: 1 or --set "
            "gang.oversubscribe=true");
  ASSERT_TRUE(coordinator->submit(elastic_recipe(dir.path(), 4, 1, 0), "tester").ok());
  const JobState state = ended(*coordinator, "demo-1");
  EXPECT_EQ(state.phase, Phase::kDone) << state.reason;
  EXPECT_EQ(state.world, 1);
}

TEST(Elastic, AJobGoesOnWithFewerRanksUnderACoordinatorWithFewerSlots) {
  TempDir dir;
  {
    Plan plan(R"({"hold": {"stage": "lm", "step": 4}})");
    auto coordinator = start(dir / "store", 4);
    Ear ear(*coordinator, "");
    ASSERT_TRUE(coordinator->submit(elastic_recipe(dir.path(), 4, 1, 0), "tester").ok());
    ASSERT_TRUE(ear.wait_for_step(2));
    EXPECT_EQ(coordinator->get("demo-1")->state.world, 4);
  }
  auto coordinator = start(dir / "store", 2);
  const JobState state = ended(*coordinator, "demo-1");
  EXPECT_EQ(state.phase, Phase::kDone) << state.reason;
  EXPECT_EQ(state.world, 2);
  EXPECT_EQ(state.world_reason, "no more slots were left when it was started again");
}

}  // namespace
}  // namespace tephra::coordinator
