// What is proved: a rank refuses a task whose checkpoint does not fit the stage, and names each difference.
#include "worker/task_context.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "storage/index/store.h"

namespace tephra::worker {
namespace {

using nlohmann::json;

constexpr const char* kRecipe = R"(
name: demo
model: {vision: v, language: l, connector: {kind: linear}}
gang: {ranks: 1}
datasets: {world: {kind: scenes}}
stages:
  - {name: s, data: [{dataset: world, part: captions}], steps: 4, template: plain}
)";

// A task of the stage with a checkpoint without tensors that has this hand-over.
Result<TaskContext> decode(const std::string& kind, bool resume, const std::map<std::string, std::string>& handover) {
  const recipes::LoadResult loaded = recipes::parse_recipe(kRecipe, "/recipe.yaml");
  EXPECT_TRUE(loaded.ok()) << to_string(loaded.diagnostics);
  storage::LocatedManifest located;
  located.manifest.job = "j";
  located.manifest.stage = "s";
  located.manifest.step = 4;
  located.manifest.handover = handover;
  cluster::Task task;
  task.kind = kind;
  task.stage = "s";
  task.recipe_json = recipes::to_json(loaded.recipe);
  task.options_json = json{{"stage_index", 0}, {"resume", resume}}.dump();
  task.located_manifest = storage::encode(located);
  return decode_task(task, Env::posix());
}

TEST(TaskContext, TakesACheckpointThatFits) {
  const std::map<std::string, std::string> same{
      {"connector", "linear"}, {"vision_layer", "-2"}, {"template", "plain"}, {"image_aspect", "square"}};
  for (const char* kind : {"train", "evaluate"}) {
    const auto context = decode(kind, false, same);
    EXPECT_TRUE(context.ok()) << context.status().to_string();
  }
  auto other_words = same;
  other_words["template"] = "v1";
  EXPECT_TRUE(decode("train", false, other_words).ok()) << "a stage may begin on another's words";
  EXPECT_EQ(decode("train", true, other_words).status().code(), Code::kMismatch);
  EXPECT_TRUE(decode("train", true, {}).ok()) << "of an earlier build";
}

TEST(TaskContext, RefusesOneThatDoesNotAndNamesEachDifference) {
  const auto refused =
      decode("evaluate", false, {{"connector", "mlp2x_gelu"}, {"vision_layer", "-1"}, {"template", "v1"}});
  EXPECT_EQ(refused.status().code(), Code::kMismatch);
  EXPECT_EQ(refused.status().retry_class(), RetryClass::kPermanent);
  EXPECT_EQ(
      refused.status().message(),
      "stage s does not fit checkpoint j/s@4: vision layer is -2, the checkpoint's is -1; connector kind is linear, "
      "the checkpoint's is mlp2x_gelu; template is plain, the checkpoint's is v1");
}

}  // namespace
}  // namespace tephra::worker
