#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/memory.h"
#include "cli/app.h"
#include "cli/plan_render.h"
#include "coordinator/calibration.h"

namespace tephra::cli {
namespace {

struct Options {
  std::string recipe, gpus, calibration, numbers = "float32";
  std::vector<std::string> overrides, data;
  int64_t nodes = 1;
  bool dump_schedule = false, json = false;
};

Result<coordinator::PlanSetting> setting_of(const Options& o, const recipes::Recipe& recipe) {
  coordinator::PlanSetting setting;
  TEPHRA_ASSIGN_OR_RETURN(setting.numbers, sharding::parse_numbers(o.numbers));
  if (!o.calibration.empty()) {
    if (!o.gpus.empty()) return Status(Code::kInvalidArgument, "--gpus and --calibration name two kinds of devices");
    TEPHRA_ASSIGN_OR_RETURN(setting.cluster,
                            coordinator::read_calibration(o.calibration, recipe.gang.ranks, machine_memory_bytes()));
    TEPHRA_RETURN_IF_ERROR(sharding::check_numbers(setting.cluster->device, setting.numbers));
  } else if (!o.gpus.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(setting.cluster, sharding::parse_cluster(o.gpus, o.nodes));
    TEPHRA_RETURN_IF_ERROR(sharding::check_numbers(setting.cluster->device, setting.numbers));
  }
  if (o.gpus.empty()) {
    if (o.nodes != 1) return Status(Code::kInvalidArgument, "--nodes needs --gpus, the devices of one node");
    setting.machine_bytes = machine_memory_bytes();
  }
  for (const std::string& text : o.data) {
    TEPHRA_ASSIGN_OR_RETURN(const auto facts, coordinator::parse_data_facts(text));
    setting.data.insert(facts);
  }
  return setting;
}

Result<PlannedJob> plan_job(const recipes::Recipe& recipe, const coordinator::PlanSetting& setting) {
  PlannedJob job;
  job.name = recipe.name;
  job.setting = setting;
  for (const auto& stage : recipe.stages) {
    auto plan = coordinator::plan_stage(recipe, stage, setting);
    if (!plan.ok()) return plan.status().with_context("stage " + stage.name);
    job.misfits.push_back(coordinator::why_not(recipe, stage, setting, *plan));
    job.stages.push_back(std::move(plan).value());
  }
  job.base_bytes = coordinator::base_bytes(recipe, job.stages.front());
  return job;
}

int run(const Options& o) {
  auto loaded = recipes::load_recipe(o.recipe, o.overrides);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", tephra::to_string(loaded.diagnostics).c_str());
    return kBadInput;
  }
  const auto setting = setting_of(o, loaded.recipe);
  if (!setting.ok()) return fail(setting.status());
  for (const auto& [name, facts] : setting->data)
    if (loaded.recipe.find_dataset(name) == nullptr)
      return fail(Status(Code::kInvalidArgument, "--data " + name + ": the recipe has no such dataset"));
  const auto job = plan_job(loaded.recipe, *setting);
  if (!job.ok()) return fail(job.status());
  std::printf("%s", o.json ? (to_json(*job).dump(2) + "\n").c_str() : to_text(*job).c_str());
  if (o.dump_schedule && !o.json)
    for (const coordinator::PlannedStage& plan : job->stages)
      std::printf("\n%s: %s\n%s", plan.name.c_str(), sharding::to_string(plan.policy).c_str(),
                  sharding::to_string(plan.schedule, plan.units, plan.policy).c_str());
  // Planned for devices, it either fits or not; for this machine the figures are what was asked for.
  const bool misfit =
      std::any_of(job->misfits.begin(), job->misfits.end(), [](const auto& m) { return m.has_value(); });
  return setting->cluster && misfit ? kFailed : kOk;
}
}  // namespace

void add_plan(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  auto* verb = verbs.app.add_subcommand("plan", "What a recipe takes: memory of a rank, time of a step, hours, disk");
  verb->add_option("RECIPE", o->recipe, "its model folders need no weights, only their configurations")->required();
  verb->add_option("--set", o->overrides, "override a field: a.b=value")->take_all();
  verb->add_option("--gpus", o->gpus,
                   "devices of a node: 8xA100-80G, or 8xcustom:memory=80G,flops=312T,bandwidth=2T,link=300G");
  verb->add_option("--nodes", o->nodes, "nodes of such devices")->capture_default_str();
  verb->add_option("--calibration", o->calibration,
                   "plan for this machine, by a file that `tephra-worker calibrate` wrote");
  verb->add_option("--dtype", o->numbers,
                   "what it computes in: float32, tf32, bfloat16 or float16 (on paper but for float32)")
      ->capture_default_str();
  verb->add_option("--data", o->data, "what a dataset holds: NAME=SAMPLES,tokens=MEAN,longest=TOKENS,images=MEAN")
      ->take_all();
  verb->add_flag("--dump-schedule", o->dump_schedule, "print each stage's operations of one step");
  verb->add_flag("--json", o->json, "one JSON document");
  verb->footer(
      "Exit code 1: a stage does not fit the devices; the last lines then say which knob would help.\n"
      "Examples:\n  tephra plan recipes/demo.yaml --set gang.ranks=4\n"
      "  tephra plan recipes/llava-1.5-7b.yaml --gpus 8xA100-80G --nodes 2 --dtype bfloat16");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return run(*o); }; });
}

}  // namespace tephra::cli
