// Plans of LLaVA 1.5's own recipes, from configurations alone, against arithmetic done here; and the advice, which is
// followed: planned anew with what it says, the stage fits.
#include "coordinator/planner.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "coordinator/admission.h"
#include "sharding/plan/checkpoints.h"

namespace tephra::coordinator {
namespace {

recipes::Recipe llava(const std::string& size, const std::vector<std::string>& set = {}) {
  const auto loaded = recipes::load_recipe(TEPHRA_SOURCE_DIR "/recipes/planning/llava-1.5-" + size + ".yaml", set);
  EXPECT_TRUE(loaded.ok()) << to_string(loaded.diagnostics);
  return loaded.recipe;
}

PlanSetting on(const std::string& gpus, int nodes = 1, sharding::Numbers numbers = sharding::Numbers::kBFloat16) {
  PlanSetting setting;
  const auto cluster = sharding::parse_cluster(gpus, nodes);
  EXPECT_TRUE(cluster.ok()) << cluster.status().message();
  setting.cluster = *cluster;
  setting.numbers = numbers;
  return setting;
}

PlannedStage must(const recipes::Recipe& recipe, int stage, const PlanSetting& setting) {
  auto plan = plan_stage(recipe, recipe.stages[stage], setting);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? std::move(plan).value() : PlannedStage{};
}

// Vicuna 7B has 6,738,415,616 parameters, the connector 20,979,712 (1024 x 4096 + 4096 x 4096 with biases).
TEST(Planner, CountsParametersFromConfigurationsAlone) {
  const PlannedStage pretrain = must(llava("7b"), 0, on("8xA100-80G")),
                     finetune = must(llava("7b"), 1, on("8xA100-80G"));
  EXPECT_EQ(pretrain.checkpoint_bytes, int64_t{20'979'712} * 12);
  EXPECT_EQ(finetune.checkpoint_bytes, (int64_t{6'738'415'616} + 20'979'712) * 12);
  // Two moments, and parameters and moments of a snapshot, an eighth of each; units are padded a little.
  EXPECT_NEAR(static_cast<double>(finetune.estimate.memory.optimizer_shards), 6'759'395'328.0 * 20 / 8, 1e6);
  // In bfloat16 both hold 2 bytes of every parameter, and float32 masters of what learns.
  EXPECT_NEAR(
      static_cast<double>(finetune.estimate.memory.parameter_shards - pretrain.estimate.memory.parameter_shards),
      6'738'415'616.0 * 4 / 8, 1e6);
}

TEST(Planner, OffloadMovesMomentsFromTheDeviceToTheHostAndCostsTransfers) {
  const PlannedStage kept = must(llava("7b"), 1, on("8xA100-80G")),
                     offloaded = must(llava("7b", {"stages.finetune.sharding.offload=optimizer"}), 1, on("8xA100-80G"));
  // Two moments, of the state and of a snapshot, an eighth of each.
  EXPECT_NEAR(static_cast<double>(offloaded.estimate.memory.host), 6'759'395'328.0 * 16 / 8, 1e6);
  EXPECT_EQ(kept.estimate.memory.host, 0);
  EXPECT_LT(offloaded.memory_bytes(), kept.memory_bytes() - offloaded.estimate.memory.host * 9 / 10);
  // There and back at 0.7 x 32 GB/s.
  EXPECT_NEAR(offloaded.time->transfer, 6'759'395'328.0 * 8 / 8 * 2 / (0.7 * 32e9), 0.01);
  EXPECT_GT(offloaded.time->total, kept.time->total);
  EXPECT_EQ(kept.time->transfer, 0);
}

TEST(Planner, OffloadOfParametersLeavesBuffersOnTheDevice) {
  const PlannedStage moments = must(llava("7b", {"stages.finetune.sharding.offload=optimizer"}), 1, on("8xA100-80G")),
                     all = must(llava("7b", {"stages.finetune.sharding.offload=parameters"}), 1, on("8xA100-80G"));
  const sharding::MemoryEstimate &some = moments.estimate.memory, &most = all.estimate.memory;
  EXPECT_EQ(most.parameter_shards, 0);
  // What left the device: all parameters, and those of the snapshot.
  EXPECT_NEAR(static_cast<double>(most.host - some.host),
              static_cast<double>(some.parameter_shards) + 6'759'395'328.0 * 4 / 8, 1e6);
  EXPECT_LT(all.memory_bytes(), moments.memory_bytes());
  // Fetched twice for gathers in 2 bytes a value; there with their moments for the update, and back with the 2 bytes.
  const double vision = 303e6 * 2 / 8, each = 6'759'395'328.0 / 8;
  EXPECT_NEAR(all.time->transfer, (each * (2 + 2) + vision + each * (2 * 12 + 2)) / (0.7 * 32e9),
              0.03 * all.time->transfer);
}

TEST(Planner, ChoosesHowFarToGatherAheadAndSaysWhy) {
  const PlanSetting setting = on("8xA100-80G", 8);
  const std::vector<std::string> small{"stages.finetune.micro_batch=1"};
  const auto with = [&](const std::string& prefetch) {
    return must(llava("7b", {small[0], "stages.finetune.sharding.prefetch=" + prefetch}), 1, setting);
  };
  const PlannedStage chosen = with("auto");
  EXPECT_NE(chosen.prefetch_reason.find(" of communication show; "), std::string::npos) << chosen.prefetch_reason;
  EXPECT_TRUE(fits(setting, chosen));
  for (const char* depth : {"0", "1", "2", "8"}) {
    const PlannedStage other = with(depth);
    EXPECT_EQ(other.prefetch_reason, "");
    if (fits(setting, other)) {
      EXPECT_LE(chosen.time->total, 1.002 * other.time->total) << depth;
    }
  }
  PlanSetting machine;
  machine.machine_bytes = int64_t{1} << 50;
  const PlannedStage here = must(llava("7b", {"stages.finetune.sharding.prefetch=auto"}), 1, machine);
  EXPECT_EQ(here.policy.prefetch, 1);
  EXPECT_EQ(here.prefetch_reason, "no times are known without devices");
}

TEST(Planner, CountsFeaturesThatAreKept) {
  const PlannedStage without = must(llava("7b"), 0, on("8xA100-80G")),
                     with = must(llava("7b", {"stages.pretrain.feature_cache=3GB"}), 0, on("8xA100-80G"));
  EXPECT_EQ(with.memory_bytes() - without.memory_bytes(), 3'000'000'000);
}

TEST(Planner, CountsWorkBySixTimesParametersTimesTokens) {
  PlanSetting setting = on("8xA100-80G");
  setting.data["instruct"] = {.samples = 665298, .tokens = 900, .longest = 2048, .images = 0};
  recipes::Recipe recipe = llava("13b", {"stages.finetune.sharding.recompute=none"});
  const PlannedStage plan = must(recipe, 1, setting);
  const double tokens = 16.0 * 900, parameters = 13'015'864'320.0 - 32000.0 * 5120;  // the embedding multiplies nothing
  const double attention = 40.0 * 2 * 5120 * 900 / 2;  // scores and values of half of the places, each block
  const sharding::StepEstimate mean = sharding::estimate(plan.schedule, plan.units, plan.policy, plan.mean);
  EXPECT_NEAR(mean.macs, 3 * tokens * (parameters + attention), 0.001 * mean.macs);
  EXPECT_EQ(plan.steps, 665298 / 128);
  EXPECT_DOUBLE_EQ(plan.tokens_per_step, 900.0 * 128);
}

// The frozen 13 billion are in the store once; what the first stage writes is its connector and two moments.
TEST(Planner, AFirstStagesCheckpointOf13BHoldsItsConnectorOnly) {
  const PlannedStage plan = must(llava("13b", {"model.connector.kind=linear"}), 0, on("8xA100-80G"));
  const int64_t connector = 1024 * 5120 + 5120;  // from CLIP's width to the language model's, and a bias
  EXPECT_EQ(plan.checkpoint_bytes, 3 * 4 * connector);
  EXPECT_LT(plan.checkpoint_bytes, 80'000'000);
}

TEST(Planner, PicturesCostVisionWorkAndTextDoesNot) {
  const auto macs = [&](double images) {
    PlanSetting setting = on("8xA100-80G");
    setting.data["align"] = {.samples = 1000, .tokens = 620, .longest = 700, .images = images};
    const PlannedStage plan = must(llava("7b"), 0, setting);
    return sharding::estimate(plan.schedule, plan.units, plan.policy, plan.mean).macs;
  };
  // The tower: 23 of 24 blocks of 12.6 million parameters over 577 places a picture, and attention over all of them.
  const double tower = 32.0 * 577 * 23 * (12'582'912.0 + 2 * 577 * 1024);
  // Then also the connector, forward twice and its own gradients, in place of the head, forward and backward, at places of pictures.
  const double connector = 32.0 * 576 * 3 * 20'971'520.0, head = 32.0 * 576 * 2 * 4096.0 * 32000;
  EXPECT_NEAR(macs(1) - macs(0), tower + connector - head, 0.02 * tower);
}

TEST(Planner, SharesTheBatchOrSaysHow) {
  const auto message = [](int nodes, const std::vector<std::string>& set) {
    const recipes::Recipe recipe = llava("7b", set);
    return plan_stage(recipe, recipe.stages[0], on("8xA100-80G", nodes)).status().message();
  };
  EXPECT_EQ(message(128, {}),
            "global_batch 256 is not a multiple of micro_batch (32) x 1024 ranks, and a step of 256 samples is for as "
            "many ranks at most; use --set stages.pretrain.global_batch=1024 and micro_batch=1, or fewer ranks");
  EXPECT_EQ(
      message(8, {}),
      "global_batch 256 is not a multiple of micro_batch (32) x 64 ranks; use --set stages.pretrain.micro_batch=4 "
      "or a divisor of it");
  const recipes::Recipe recipe = llava("7b", {"stages.pretrain.global_batch=1024", "stages.pretrain.micro_batch=1"});
  EXPECT_EQ(must(recipe, 0, on("8xA100-80G", 128)).policy.world_size, 1024) << "on paper, beyond the executor's 64";
}

TEST(Planner, RefusesNumbersThatTheDeviceLacks) {
  const recipes::Recipe recipe = llava("7b");
  const auto plan = plan_stage(recipe, recipe.stages[0], on("8xV100-32G"));
  EXPECT_EQ(plan.status().code(), Code::kUnsupported);
  EXPECT_NE(plan.status().message().find("V100-32G does not compute in bfloat16"), std::string::npos);
}

TEST(PlanAdvice, NamesTheFirstKnobThatMakesItFitAndIsRight) {
  const recipes::Recipe recipe = llava("7b", {"stages.finetune.sharding={shard: parameters, recompute: none}"});
  const PlanSetting setting = on("8xA100-80G");
  const auto said = why_not(recipe, recipe.stages[1], setting, must(recipe, 1, setting));
  ASSERT_TRUE(said.has_value());
  EXPECT_EQ(said->find("stage finetune needs "), 0u) << *said;
  const recipes::Recipe advised = llava("7b", {"stages.finetune.sharding={shard: parameters, recompute: all}"});
  const PlannedStage then = must(advised, 1, setting);
  EXPECT_NE(said->find(" of 80.0 GB per rank; fits with sharding.recompute: all (" +
                       human_bytes(static_cast<double>(then.memory_bytes())) + ")"),
            std::string::npos)
      << *said;
  EXPECT_TRUE(fits(setting, then));
}

TEST(PlanAdvice, TriesLevelsBeforeRecomputationAndKnobsTogetherLast) {
  const PlanSetting setting = on("8xA100-80G");
  const auto advice = [&](const PlanSetting& where, const std::string& size, int stage,
                          const std::vector<std::string>& set) {
    const recipes::Recipe recipe = llava(size, set);
    return why_not(recipe, recipe.stages[stage], where, must(recipe, stage, where)).value_or("fits");
  };
  EXPECT_NE(
      advice(setting, "7b", 1, {"stages.finetune.sharding.shard=none"}).find("fits with sharding.shard: gradients ("),
      std::string::npos);
  EXPECT_NE(advice(on("8xA100-40G", 1, sharding::Numbers::kFloat32), "13b", 1, {})
                .find("fits with 32 ranks (4 nodes x 8 A100-40G) and micro_batch: 4 ("),
            std::string::npos);
  EXPECT_EQ(advice(setting, "7b", 1, {}), "fits");
  // Whole parameters of 7B do not fit one card of 24 GB, and adapters do not make them smaller.
  EXPECT_NE(advice(on("1xRTX4090"), "7b", 1, {}).find("fits with "), std::string::npos);
}

TEST(PlanAdvice, SaysThatAUnitAloneIsLarger) {
  const recipes::Recipe recipe = llava("13b");
  const PlanSetting setting = on("8xcustom:memory=300M,flops=1T,bandwidth=1T,link=1G");
  const auto said = why_not(recipe, recipe.stages[1], setting, must(recipe, 1, setting));
  ASSERT_TRUE(said.has_value());
  EXPECT_NE(said->find("unit llm.embed alone takes 328 MB when it is gathered, and no unit is cut"), std::string::npos)
      << *said;
}

TEST(Admission, RefusesWhatNoSampleLengthMakesFitAndNothingElse) {
  const recipes::Recipe recipe =
      llava("7b", {"gang.ranks=2", "stages.pretrain.micro_batch=1", "stages.finetune.global_batch=32"});
  const Status refused = check_memory(recipe, 24'000'000'000);
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_EQ(refused.retry_class(), RetryClass::kPermanent);
  EXPECT_NE(refused.message().find("of 12.0 GB per rank (24.0 GB of this machine over 2 ranks)"), std::string::npos)
      << refused.message();
  // 240 GB hold the shards and not the activations of 2,048 tokens in 16 samples: that is for their real length to say.
  EXPECT_TRUE(check_memory(recipe, 240'000'000'000).ok());
  EXPECT_FALSE(check_memory(recipe, 240'000'000'000, {{"finetune", 2048}}).ok());
  EXPECT_TRUE(check_memory(recipe, 240'000'000'000, {{"finetune", 100}}).ok());
  EXPECT_TRUE(check_memory(recipe, 0).ok()) << "not looked at";
  recipes::Recipe elastic = recipe;
  elastic.gang.ranks_min = 1;
  EXPECT_TRUE(check_memory(elastic, 240'000'000'000).ok());
  EXPECT_EQ(check_memory(elastic, 24'000'000'000).message(), refused.message());
}

TEST(Admission, PassesOverWhatCannotBeRead) {
  recipes::Recipe recipe = llava("7b");
  recipe.model.language = "/no/such/folder";
  EXPECT_TRUE(check_memory(recipe, 1).ok());
}

TEST(DataFacts, AreReadOrTheFormIsSaid) {
  const auto facts = parse_data_facts("align=558128,tokens=620.5,longest=700,images=0.9");
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->first, "align");
  EXPECT_EQ(facts->second.samples, 558128);
  EXPECT_DOUBLE_EQ(facts->second.tokens, 620.5);
  EXPECT_EQ(facts->second.longest, 700);
  EXPECT_DOUBLE_EQ(facts->second.images, 0.9);
  for (const char* text : {"", "align", "=5", "align=", "align=x", "align=5,", "align=5,tokens", "align=5,length=4",
                           "align=-5", "align=1e300", "align=5,tokens=nan"})
    EXPECT_FALSE(parse_data_facts(text).ok()) << text;
}

}  // namespace
}  // namespace tephra::coordinator
