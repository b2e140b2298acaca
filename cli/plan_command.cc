#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/text.h"
#include "model/spec/units.h"
#include "recipes/recipe.h"
#include "sharding/plan/schedule.h"

namespace tephra::cli {
namespace {

struct Options {
  std::string recipe;
  std::vector<std::string> overrides;
  bool dump_schedule = false, json = false;
};

struct StagePlan {
  std::string name;
  std::vector<sharding::UnitSpec> units;
  sharding::Policy policy;
  sharding::Schedule schedule;
  sharding::StepEstimate estimate;
};

Result<StagePlan> plan_stage(const recipes::Recipe& recipe, const recipes::StageRecipe& stage) {
  StagePlan plan;
  plan.name = stage.name;
  std::set<std::string> train(stage.train.begin(), stage.train.end());
  if (stage.kind == "contrastive") {
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_clip_config(recipe.model.vision));
    plan.units = model::make_clip_units(config, model::kClipGroups);
  } else if (stage.kind == "language_model") {
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_llama_config(recipe.model.language));
    plan.units = model::make_lm_units(config, train, model::lora_config(stage.lora));
  } else {
    model::ModelPaths paths;
    model::PartsOptions parts;
    paths.model = recipe.model.llava;
    paths.vision = recipe.model.vision;
    paths.llm = recipe.model.language;
    if (paths.model.empty()) {
      parts.connector_kind = recipe.model.connector.kind;
      parts.vision_layer = static_cast<int>(recipe.model.vision_layer);
    }
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(paths, parts));
    plan.units = model::make_units(config, train, model::lora_config(stage.lora));
  }
  // As worker/stage_model.cc and worker/trainer.cc do.
  model::set_compute_dtypes(plan.units, stage.precision.by_group());
  plan.policy = {
      .world_size = static_cast<int>(recipe.gang.ranks),
      .micro_batches = static_cast<int>(stage.micro_batches_per_step() / recipe.gang.ranks),
      .shard = sharding::shard_level(stage.sharding.shard),
      .reshard_after_forward = stage.sharding.reshard_after_forward,
      .recompute_every = *stage.sharding.recompute_every(),
      .prefetch = static_cast<int>(stage.sharding.prefetch),
      .group_ranks = static_cast<int>(stage.sharding.group_ranks),
      .reduction = stage.sharding.reduction == "fast" ? sharding::Reduction::kFast : sharding::Reduction::kTree,
      .moments = stage.optimizer.moments()};
  plan.schedule = sharding::make_schedule(plan.units, plan.policy);
  // The units of contrastive training count their cost by pair, the others by token.
  const int64_t length = stage.kind == "contrastive" ? 1 : stage.max_length;
  plan.estimate = sharding::estimate(plan.schedule, plan.units, plan.policy, stage.micro_batch * length);
  return plan;
}

nlohmann::json to_json(const StagePlan& plan) {
  const auto& m = plan.estimate.memory;
  return {{"stage", plan.name},
          {"ranks", plan.policy.world_size},
          {"sharding", sharding::to_string(plan.policy)},
          {"memory_bytes_per_rank", m.total()},
          {"parameter_shard_bytes", m.parameter_shards},
          {"gradient_shard_bytes", m.gradient_shards},
          {"optimizer_shard_bytes", m.optimizer_shards},
          {"gathered_peak_bytes", m.gathered_peak},
          {"gradient_peak_bytes", m.gradient_peak},
          {"activation_peak_bytes", m.activation_peak},
          {"macs_per_step_and_rank", plan.estimate.macs},
          {"gathered_bytes_per_step_and_rank", plan.estimate.gathered_bytes},
          {"reduced_bytes_per_step_and_rank", plan.estimate.reduced_bytes}};
}

int run(const Options& o) {
  auto loaded = recipes::load_recipe(o.recipe, o.overrides);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", tephra::to_string(loaded.diagnostics).c_str());
    return kBadInput;
  }
  std::vector<std::vector<std::string>> rows;
  nlohmann::json document = nlohmann::json::array();
  std::string schedules;
  for (const auto& stage : loaded.recipe.stages) {
    auto plan = plan_stage(loaded.recipe, stage);
    if (!plan.ok()) return fail(plan.status().with_context("stage " + stage.name));
    document.push_back(to_json(*plan));
    const auto& m = plan->estimate.memory;
    auto bytes = [](int64_t n) { return human_bytes(static_cast<double>(n)); };
    rows.push_back({plan->name, std::to_string(plan->policy.world_size), bytes(m.total()), bytes(m.parameter_shards),
                    bytes(m.gradient_shards), bytes(m.optimizer_shards), bytes(m.gathered_peak), bytes(m.gradient_peak),
                    bytes(m.activation_peak), fixed(2 * plan->estimate.macs / 1e9, 1)});
    if (o.dump_schedule)
      schedules += "\n" + plan->name + ": " + sharding::to_string(plan->policy) + "\n" +
                   sharding::to_string(plan->schedule, plan->units, plan->policy);
  }
  if (o.json) {
    std::printf("%s\n", document.dump(2).c_str());
    return kOk;
  }
  std::printf("Per rank, at the longest sequences the recipe allows:\n%s%s",
              table({"stage", "ranks", "memory", "parameters", "gradients", "moments", "gathered", "whole gradients",
                     "activations", "GFLOP/step"},
                    rows)
                  .c_str(),
              schedules.c_str());
  return kOk;
}
}  // namespace

void add_plan(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto* verb = verbs.app.add_subcommand("plan", "Predicted memory and traffic of a recipe's stages, per rank");
  verb->add_option("RECIPE", o->recipe)->required();
  verb->add_option("--set", o->overrides, "override a field: a.b=value")->take_all();
  verb->add_flag("--dump-schedule", o->dump_schedule, "print each stage's operations of one step");
  verb->add_flag("--json", o->json, "one JSON document");
  verb->footer("Example:\n  tephra plan recipes/demo.yaml --set gang.ranks=4");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return run(*o); }; });
}

}  // namespace tephra::cli
