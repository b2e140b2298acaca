// What a recipe loads to: defaults, resolution, overrides and the round trip through JSON.
#include "recipes/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tephra::recipes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* const kSmall = R"(name: demo
model: {vision: clip, language: ../llama, connector: {kind: linear}}
datasets:
  world: {kind: scenes, seed: 3, train_scenes: 100}
  chats: {kind: llava, conversations: chats.json}
stages:
  - name: align
    template: plain
    data: [{dataset: world, part: captions}]
    steps: 10
    micro_batch: 2
    global_batch: 8
    optimizer: {lr: 2e-3}
  - name: tune
    train: [connector, llm]
    data: [{dataset: world, part: instruct}, {dataset: chats}]
    epochs: 1
    evaluate: [science]
benches:
  zeta: {kind: instruct, dataset: world}
  science: {kind: scienceqa, dataset: world, swap_images: true}
)";

Recipe loaded(const std::string& text, const std::vector<std::string>& overrides = {}) {
  LoadResult result = parse_recipe(text, "/recipes/demo.yaml", overrides);
  EXPECT_EQ(to_string(result.diagnostics), "");
  return result.recipe;
}

TEST(Recipe, FillsInDefaultsAndResolvesNames) {
  const Recipe recipe = loaded(kSmall);
  EXPECT_EQ(recipe.seed, 17);
  EXPECT_EQ(recipe.gang.ranks, 2);
  EXPECT_EQ(recipe.report.title, "demo");
  ASSERT_EQ(recipe.stages.size(), 2u);
  EXPECT_EQ(recipe.stages[0].init, "base");
  EXPECT_EQ(recipe.stages[1].init, "align");
  EXPECT_EQ(recipe.stages[0].optimizer.lr, 2e-3);
  EXPECT_EQ(recipe.stages[1].optimizer.lr, 2e-5);
  EXPECT_EQ(recipe.stages[0].micro_batches_per_step(), 4);
  EXPECT_THAT(recipe.stages[0].evaluate, ElementsAre("zeta", "science"));  // absent: all, in the file's order
  EXPECT_THAT(recipe.stages[1].evaluate, ElementsAre("science"));
  EXPECT_EQ(recipe.find_bench("zeta")->part, "heldout");
  EXPECT_EQ(recipe.find_bench("science")->split, "test");
  EXPECT_EQ(recipe.find_dataset("world")->option("train_scenes"), "100");
  EXPECT_EQ(recipe.find_dataset("world")->option("image_size", "56"), "56");
  EXPECT_EQ(recipe.find_dataset("nowhere"), nullptr);
}

TEST(Recipe, ReadsHowAStageIsSharded) {
  const std::vector<std::pair<std::string, int>> spellings{{"none", 0}, {"all", 1}, {"1", 1}, {"3", 3}};
  for (const auto& [text, every] : spellings) {
    const Recipe recipe = loaded(kSmall, {"stages.align.sharding.recompute=" + text});
    EXPECT_EQ(recipe.stages[0].sharding.recompute_every(), every) << text;
    EXPECT_EQ(from_json(to_json(recipe))->stages[0].sharding.recompute_every(), every) << text;
  }
  const Recipe recipe = loaded(kSmall, {"stages.align.sharding={shard: gradients, prefetch: 2}"});
  EXPECT_EQ(recipe.stages[0].sharding.shard, "gradients");
  EXPECT_EQ(recipe.stages[0].sharding.prefetch_depth(), 2);
  EXPECT_EQ(recipe.stages[1].sharding.prefetch_depth(), 1);
  const Recipe automatic = loaded(kSmall, {"stages.align.sharding.prefetch=auto"});
  EXPECT_EQ(from_json(to_json(automatic))->stages[0].sharding.prefetch, "auto");
}

TEST(Recipe, ReadsHowMuchMemoryFeaturesMayTake) {
  EXPECT_EQ(loaded(kSmall).stages[0].feature_cache_bytes(), 0);
  EXPECT_EQ(loaded(kSmall, {"stages.align.feature_cache=3MiB"}).stages[0].feature_cache_bytes(), 3 << 20);
}

TEST(Recipe, ReadsWhatAForkStartsFromAndWhatIsKept) {
  EXPECT_FALSE(loaded(kSmall).fork.has_value());
  EXPECT_FALSE(loaded(kSmall).stages[0].checkpoint.keep.has_value());
  EXPECT_EQ(to_json(loaded(kSmall)).find("\"keep\""), std::string::npos) << "written only where it is given";
  const Recipe recipe = loaded(kSmall, {"fork.checkpoint=\"demo-1/align@4\"", "fork.resume=true",
                                        "stages.tune.checkpoint={keep: {last: 3, every: 100, max_age: 7d, max_bytes: "
                                        "1.5GB}, best: {mode: max}}"});
  const auto again = from_json(to_json(recipe));
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(to_json(*again), to_json(recipe));
  EXPECT_EQ(again->fork->checkpoint, "demo-1/align@4");
  EXPECT_TRUE(again->fork->resume);
  EXPECT_EQ(again->stages[1].checkpoint.keep->last, 3);
  EXPECT_EQ(again->stages[1].checkpoint.keep->max_age, "7d");
  EXPECT_EQ(again->stages[1].checkpoint.best->mode, "max");
  EXPECT_EQ(again->stages[1].checkpoint.best->metric, "loss");
}

TEST(Recipe, AJobContinuesWithOtherRanksAndShardingButNothingElse) {
  const Recipe job = loaded(kSmall);
  for (const char* change :
       {"gang={ranks: 4, oversubscribe: true}", "gang={ranks: 1, max_restarts: 9}", "gang.collective_timeout_s=7",
        "stages.align.sharding={shard: none, recompute: all}", "stages.tune.sharding={group_ranks: 2, prefetch: 0}",
        "stages.tune.checkpoint={keep: {last: 1}, best: {mode: max}}", "stages.align.feature_cache=1GB"}) {
    EXPECT_TRUE(continues(job, loaded(kSmall, {change}))) << change;
  }
  for (const char* change :
       {"gang.threads_per_rank=2", "seed=18", "stages.align.optimizer.lr=1e-3", "stages.align.micro_batch=1",
        "stages.align.sharding.reduction=fast", "stages.tune.template=plain", "benches.science.limit=3",
        "stages.align.checkpoint.every_steps=7", "fork.checkpoint=demo-1/align@4"}) {
    EXPECT_FALSE(continues(job, loaded(kSmall, {change}))) << change;
  }
  const std::string fast = "stages.align.sharding.reduction=fast";
  const Recipe any_order = loaded(kSmall, {fast});
  EXPECT_TRUE(continues(any_order, loaded(kSmall, {fast, "gang.max_restarts=9"})));
  EXPECT_FALSE(continues(any_order, loaded(kSmall, {fast, "gang.ranks=4"}))) << "other bits";
  EXPECT_FALSE(continues(any_order, loaded(kSmall, {fast, "stages.tune.sharding.shard=none"})));
}

TEST(Recipe, CountsWhatAnOptimizerKeeps) {
  const auto moments = [](const std::string& optimizer) {
    const Recipe recipe = loaded(kSmall, {"stages.align.optimizer=" + optimizer});
    EXPECT_EQ(to_json(*from_json(to_json(recipe))), to_json(recipe));
    return recipe.stages[0].optimizer.moments();
  };
  EXPECT_EQ(moments("{}"), 2);
  EXPECT_EQ(moments("{kind: sgd}"), 0);
  EXPECT_EQ(moments("{kind: sgd, momentum: 0.9, nesterov: true}"), 1);
}

TEST(Recipe, MakesPathsAbsoluteAgainstItsFolder) {
  const Recipe recipe = loaded(kSmall);
  EXPECT_EQ(recipe.model.vision, "/recipes/clip");
  EXPECT_EQ(recipe.model.language, "/llama");
  EXPECT_EQ(recipe.find_dataset("chats")->option("conversations"), "/recipes/chats.json");
}

TEST(Recipe, EveryShippedOneLoads) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TEPHRA_SOURCE_DIR "/recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    ++count;
    EXPECT_EQ(to_string(load_recipe(entry.path().string()).diagnostics), "");
  }
  EXPECT_GE(count, 4);
}

TEST(Recipe, AppliesOverridesInOrder) {
  const Recipe recipe =
      loaded(kSmall, {"gang.ranks=4", "gang.ranks=1", "stages[1].optimizer.lr=1e-4", "stages.align.steps=3",
                      "stages[0].evaluate=[zeta]", "stages[1].data[1].dataset=world", "stages[1].data[1].part=captions",
                      "datasets.world.seed=9", "report.title=\"A: b\""});
  EXPECT_EQ(recipe.gang.ranks, 1);
  EXPECT_EQ(recipe.stages[1].optimizer.lr, 1e-4);
  EXPECT_EQ(recipe.stages[0].steps, 3);
  EXPECT_THAT(recipe.stages[0].evaluate, ElementsAre("zeta"));
  EXPECT_EQ(recipe.stages[1].data[1].part, "captions");
  EXPECT_EQ(recipe.find_dataset("world")->option("seed"), "9");
}

TEST(Recipe, OverrideWithoutAValueRestoresTheDefault) {
  const Recipe recipe = loaded(kSmall, {"stages[1].epochs=", "stages[1].steps=5"});
  EXPECT_EQ(recipe.stages[1].epochs, 0);
  EXPECT_EQ(recipe.stages[1].steps, 5);
}

TEST(Recipe, LoraIsAbsentOrResolved) {
  EXPECT_FALSE(loaded(kSmall).stages[1].lora.has_value());
  EXPECT_EQ(to_json(loaded(kSmall)).find("lora"), std::string::npos);
  const Recipe all = loaded(kSmall, {"stages.tune.lora={rank: 8}"});
  EXPECT_EQ(to_string(*all.stages[1].lora),
            "rank 8, alpha 16, targets q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
  const Recipe some = loaded(kSmall, {"stages.tune.lora={rank: 4, alpha: 2.5, targets: [v_proj, q_proj], dropout: 0}"});
  EXPECT_EQ(to_string(*some.stages[1].lora), "rank 4, alpha 2.5, targets q_proj, v_proj");
  const Result<Recipe> again = from_json(to_json(some));
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(again->stages[1].lora, some.stages[1].lora);
  EXPECT_EQ(hash(*again), hash(some));
}

TEST(Recipe, AStageGoesOnWithTheSameAdapters) {
  const std::string third = std::string(kSmall).replace(std::string(kSmall).find("benches:"), 0,
                                                        "  - {name: more, train: [connector, llm], steps: 1, "
                                                        "data: [{dataset: world, part: instruct}]}\n");
  const std::string lora = "stages.tune.lora={rank: 4, alpha: 8, targets: [q_proj, v_proj]}";
  EXPECT_EQ(loaded(third, {lora, "stages.more.lora={rank: 4, targets: [v_proj, q_proj]}"}).stages[2].lora,
            loaded(third, {lora, "stages.more.init=align"}).stages[1].lora);
  // The connector alone may learn beside adapters that stay as they are.
  loaded(third, {lora, "stages.more.lora={rank: 4, targets: [v_proj, q_proj]}", "stages.more.train=[connector]"});
}

TEST(Recipe, RoundTripsThroughJson) {
  const Recipe recipe =
      loaded(kSmall, {"stages[0].optimizer.lr=0.1", "stages[0].optimizer.eps=1e-300", "seed=9007199254740991"});
  const std::string json = to_json(recipe);
  const Result<Recipe> again = from_json(json);
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(to_json(*again), json);
  EXPECT_EQ(hash(*again), hash(recipe));
  EXPECT_EQ(again->stages[0].optimizer.eps, 1e-300);
  EXPECT_EQ(again->seed, 9007199254740991);
  EXPECT_EQ(again->benches.front().name, "zeta");
}

TEST(Recipe, HashFollowsTheContentAndNotTheSpelling) {
  EXPECT_EQ(hash(loaded(kSmall)), hash(loaded(std::string("# comment\n") + kSmall + "seed: 17\n")));
  EXPECT_NE(hash(loaded(kSmall)), hash(loaded(kSmall, {"seed=18"})));
}

TEST(Recipe, RefusesBrokenJsonWithTheField) {
  EXPECT_EQ(from_json("{").status().code(), Code::kInvalidArgument);
  std::string json = to_json(loaded(kSmall));
  json.replace(json.find("\"ranks\": 2"), 10, "\"ranks\": 3");
  EXPECT_THAT(from_json(json).status().message(), HasSubstr("gang.ranks: 3 is not a power of two"));
}

TEST(Recipe, ReadsAFileAndReportsOneThatIsMissingOrTooLarge) {
  std::string folder = ::testing::TempDir() + "recipeXXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/demo.yaml";
  std::ofstream(path) << kSmall;
  EXPECT_EQ(load_recipe(path).recipe.model.vision, folder + "/clip");
  std::ofstream(path, std::ios::app) << std::string(1 << 20, '#');
  EXPECT_THAT(to_string(load_recipe(path).diagnostics), HasSubstr("a recipe may have 1048576"));
  EXPECT_THAT(to_string(load_recipe(folder + "/none.yaml").diagnostics), HasSubstr("none.yaml"));
  std::filesystem::remove_all(folder);
}

TEST(Recipe, CollectsFindingsOfSeveralStagesTogether) {
  const LoadResult result =
      parse_recipe(kSmall, "r.yaml", {"stages[0].steps=two", "stages[1].max_length=-1", "gang.rnks=1"});
  EXPECT_EQ(result.diagnostics.size(), 3u) << to_string(result.diagnostics);
}

TEST(Recipe, SurvivesEveryTruncationOfItsText) {
  const std::string text = kSmall;
  for (size_t size = 0; size < text.size(); ++size) parse_recipe(text.substr(0, size), "r.yaml");
  SUCCEED();  // nothing thrown, nothing aborted
}

TEST(StageSteps, StepsOrWholeGlobalBatchesButAtLeastOne) {
  StageRecipe stage;
  stage.global_batch = 16;
  stage.epochs = 3;
  EXPECT_EQ(stage.total_steps(100), 18);
  EXPECT_EQ(stage.total_steps(2), 1);
  stage.steps = 7;
  EXPECT_EQ(stage.total_steps(100), 7);
}

TEST(Recipe, AnElasticGangMayHaveHalfOfItsRanksDownToItsLeast) {
  GangRecipe gang;
  gang.ranks = 8;
  EXPECT_EQ(gang.permitted_ranks(), std::vector<int64_t>{8});
  gang.ranks_min = 8;
  EXPECT_EQ(gang.permitted_ranks(), std::vector<int64_t>{8});
  gang.ranks_min = 2;
  EXPECT_EQ(gang.permitted_ranks(), (std::vector<int64_t>{8, 4, 2}));
}

}  // namespace
}  // namespace tephra::recipes
