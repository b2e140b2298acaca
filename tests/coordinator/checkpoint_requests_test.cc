// What is proved: each request does what it says and nothing when it is wrong; what tags, pins, leases and unfinished
// jobs need is not removed, whoever asks; a job's recipe moves the best tag and lets old checkpoints go.
#include "coordinator/checkpoint_requests.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/clock.h"
#include "coordinator/checkpoint_care.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal.h"
#include "tests/storage/fixture.h"
#include "victim.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;
using storage::make_tensor;

class CheckpointRequestsTest : public storage::StoreFixture {
 protected:
  void SetUp() override {
    storage::StoreFixture::SetUp();
    for (int64_t step : {10, 20, 30})
      TEPHRA_ASSERT_OK(save("j", "s", step, {make_tensor("w", {500}, static_cast<uint64_t>(step))}));
  }
  Result<json> ask(const std::string& verb, const json& request) {
    const auto reply = change_checkpoints(*store_, verb, request.dump(), Clock::system().unix_ms());
    if (!reply.ok()) return reply.status();
    return json::parse(*reply);
  }
  std::set<std::string> names() {
    std::set<std::string> out;
    const auto all = store_->list();
    for (const auto& info : *all) out.insert(info.name);
    return out;
  }
  void journal(const std::string& id, Phase phase, const std::string& checkpoint) {
    JournaledJob job;
    job.state.id = id;
    job.state.plan = {{"s", "base", {}}};
    job.state.stages.resize(1);
    job.state.stages[0].checkpoint = checkpoint;
    job.state.phase = phase;
    job.events = 1;
    TEPHRA_ASSERT_OK(Journal(*store_).put(job, Submitted{1}, 1));
  }
};

TEST_F(CheckpointRequestsTest, TagsAndPins) {
  EXPECT_EQ((*ask("tag", {{"name", "j/s@latest"}, {"tag", "good"}}))["name"], "j/s@30");
  EXPECT_EQ(ask("tag", {{"name", "j/s@10"}, {"tag", "good"}}).status().code(), Code::kAlreadyExists);
  EXPECT_EQ((*ask("tag", {{"name", "j/s@10"}, {"tag", "good"}, {"force", true}}))["moved_from"], "j/s@30");
  EXPECT_EQ((*ask("pin", {{"name", "j/s@20"}}))["name"], "j/s@20");
  EXPECT_EQ(store_->pins()->size(), 1u);
  TEPHRA_ASSERT_OK(ask("unpin", {{"name", "j/s@20"}}));
  TEPHRA_ASSERT_OK(ask("untag", {{"tag", "good"}}));
  EXPECT_TRUE(store_->tags()->empty());
  EXPECT_EQ(ask("untag", {{"tag", "good"}}).status().code(), Code::kNotFound);
}

TEST_F(CheckpointRequestsTest, WhatIsWrongWithARequestIsSaid) {
  struct Case {
    const char* verb;
    json request;
    const char* message;
  };
  const Case cases[] = {
      {"tag", {{"name", "j/s@10"}}, "the request's tag has to be given"},
      {"tag", {{"name", 5}, {"tag", "x"}}, "the request's name has to be a text"},
      {"tag", {{"name", "j/s@10"}, {"tag", "x"}, {"force", "yes"}}, "the request's force has to be true or false"},
      {"tag", {{"name", "j/s@10"}, {"tag", "../x"}}, "tag"},
      {"rm", {{"names", json::array()}}, "the request's names has to be a list of names"},
      {"rm", {{"names", {"j/s@11"}}}, "has no checkpoint 'j/s@11'"},
      {"prune", {{"job", ""}}, "the request's policy has to be given"},
      {"prune", {{"policy", json::object()}}, "no rule is given"},
      {"prune", {{"policy", {{"last", -1}}}}, "the request's last has to be a whole number, at least 0"},
      {"prune", {{"policy", {{"max_age", "soon"}}}}, "'soon' is not a time"},
      {"prune", {{"job", "k"}, {"policy", {{"last", 1}}}}, "job 'k' has no checkpoints"},
      {"shred", json::object(), "there is no request 'shred'"},
  };
  for (const Case& c : cases) {
    const auto reply = ask(c.verb, c.request);
    ASSERT_FALSE(reply.ok()) << c.verb << c.request;
    EXPECT_NE(reply.status().message().find(c.message), std::string::npos) << reply.status().message();
  }
  EXPECT_EQ(change_checkpoints(*store_, "gc", "[", 0).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(names().size(), 3u);
}

TEST_F(CheckpointRequestsTest, RemovesAllOrNone) {
  TEPHRA_ASSERT_OK(store_->pin("j/s@20"));
  const auto refused = ask("rm", {{"names", {"j/s@10", "j/s@20"}}});
  EXPECT_EQ(refused.status().message(), "nothing was removed; j/s@20: pinned");
  EXPECT_EQ(names().size(), 3u);
  const auto shown = ask("rm", {{"names", {"j/s@10", "j/s@30", "j/s@30"}}, {"dry_run", true}});
  TEPHRA_ASSERT_OK(shown);
  EXPECT_EQ((*shown)["removed"].size(), 2u);
  EXPECT_EQ(names().size(), 3u);
  TEPHRA_ASSERT_OK(ask("rm", {{"names", {"j/s@10", "j/s@30"}}}));
  EXPECT_EQ(names(), std::set<std::string>{"j/s@20"});
}

TEST_F(CheckpointRequestsTest, JobsKeepWhatTheyNeed) {
  journal("running-1", Phase::kTraining, "j/s@10");
  journal("done-1", Phase::kDone, "j/s@20");
  EXPECT_EQ(ask("rm", {{"names", {"j/s@10"}}}).status().message(),
            "nothing was removed; j/s@10: job running-1 goes on from it");
  const auto pruned = ask("prune", {{"policy", {{"last", 1}}}, {"dry_run", true}});
  TEPHRA_ASSERT_OK(pruned);
  EXPECT_EQ((*pruned)["removed"], 0);
  EXPECT_EQ((*pruned)["checkpoints"][1]["reason"], "in the report of job done-1");
  TEPHRA_ASSERT_OK(ask("rm", {{"names", {"j/s@20"}}}));  // by its name it may go
}

TEST_F(CheckpointRequestsTest, PrunesAndCollects) {
  TEPHRA_ASSERT_OK(store_->tag("good", "j/s@10"));
  const json request = {{"policy", {{"last", 1}}}};
  json dry = request;
  dry["dry_run"] = true;
  EXPECT_EQ((*ask("prune", dry))["removed"], 1);
  EXPECT_EQ(names().size(), 3u);
  const auto pruned = ask("prune", request);
  TEPHRA_ASSERT_OK(pruned);
  EXPECT_EQ((*pruned)["removed_bytes"], 2000);
  EXPECT_EQ(names(), (std::set<std::string>{"j/s@10", "j/s@30"}));
  const auto would = ask("gc", {{"dry_run", true}});
  TEPHRA_ASSERT_OK(would);
  EXPECT_EQ((*would)["packs"].size(), 1u);
  const std::string pack = (*would)["packs"][0];
  EXPECT_EQ((*would)["by_pack"], (json{{pack, (*would)["bytes"]}}));
  EXPECT_EQ(pack_files().size(), 3u);
  EXPECT_EQ((*ask("gc", json::object()))["bytes"], (*would)["bytes"]);
  EXPECT_EQ(pack_files().size(), 2u);
}

// As after a coordinator that was killed between a commit and what follows it: the next time does it all, and once more
// nothing.
TEST_F(CheckpointRequestsTest, TendingAStageCatchesUpAndIsIdempotent) {
  recipes::StageRecipe stage;
  stage.name = "s";
  EXPECT_TRUE(tend_stage(*store_, "j", stage, 1)->pruned.verdicts.empty()) << "a recipe without rules";
  stage.checkpoint.keep = recipes::KeepRecipe{};
  stage.checkpoint.keep->last = 1;
  TEPHRA_ASSERT_OK(save("j", "t", 10, {make_tensor("w", {500}, 77)}));
  const auto first = tend_stage(*store_, "j", stage, 1);
  TEPHRA_ASSERT_OK(first);
  EXPECT_EQ(first->pruned.removed, 2);
  EXPECT_EQ(names(), (std::set<std::string>{"j/s@30", "j/t@10"})) << "another stage's are not its own";
  EXPECT_EQ(tend_stage(*store_, "j", stage, 1)->pruned.removed, 0);
  stage.checkpoint.best = recipes::BestRecipe{};
  EXPECT_EQ(tend_stage(*store_, "j", stage, 1)->best, "") << "no checkpoint has the metric";
}

// Two stages of 7 steps with a checkpoint every two; the fake ranks' loss is 1 / step.
TEST(CheckpointCare, AJobMovesItsBestTagAndLetsOldCheckpointsGo) {
  TempDir dir;
  json recipe = json::parse(make_recipe(dir.path(), 2, 7));
  recipe["stages"][0]["checkpoint"]["best"] = {{"metric", "loss"}, {"mode", "max"}};
  recipe["stages"][0]["checkpoint"]["keep"] = {{"last", 2}};
  recipe["stages"][1]["checkpoint"]["keep"] = {{"last", 1}};
  auto coordinator = Coordinator::start(make_options(dir / "store"));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  std::mutex mutex;
  std::vector<std::string> lines;
  const uint64_t ear = (*coordinator)->subscribe("", [&](const JobEvent& event) {
    std::lock_guard lock(mutex);
    if (event.kind == JobEvent::Kind::kLog) lines.push_back(event.message);
  });
  const auto id = (*coordinator)->submit(recipe.dump(), "x");
  ASSERT_TRUE(id.ok()) << id.status().to_string();
  const auto state = (*coordinator)->wait(*id, Deadline::after(std::chrono::seconds(60)));
  ASSERT_TRUE(state.ok());
  ASSERT_EQ(state->phase, Phase::kDone) << state->reason;
  (*coordinator)->unsubscribe(ear);
  storage::Store& store = (*coordinator)->store();
  EXPECT_EQ(*store.resolve("demo-1/lm@best"), "demo-1/lm@2");
  std::set<std::string> names;
  const auto left = store.list("demo-1");
  ASSERT_TRUE(left.ok());
  for (const auto& info : *left) names.insert(info.name);
  EXPECT_EQ(names, (std::set<std::string>{"demo-1/lm@2", "demo-1/lm@6", "demo-1/lm@7", "demo-1/more@7"}));
  for (const std::string& name : names) EXPECT_TRUE(store.verify(name)->ok()) << name;
  const auto said = [&](const std::string& line) { return std::count(lines.begin(), lines.end(), line); };
  EXPECT_EQ(said("the best checkpoint of lm is now demo-1/lm@2"), 1);
  EXPECT_EQ(said("checkpoint demo-1/lm@4 removed: no rule keeps it"), 1);
  EXPECT_TRUE(store.gc(true)->packs.empty()) << "the job gave the space back when it ended";
}

}  // namespace
}  // namespace tephra::coordinator
