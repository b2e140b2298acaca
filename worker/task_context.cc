#include "worker/task_context.h"

#include <nlohmann/json.hpp>

#include "storage/handover.h"
#include "storage/manifest.h"

namespace tephra::worker {
namespace {
using nlohmann::json;

Result<TaskOptions> parse_options(const std::string& text) {
  json j = json::parse(text, nullptr, false);
  if (!j.is_object()) return Status(Code::kInvalidArgument, "task options are not a JSON object");
  TaskOptions o;
  try {
    o.stage_index = j.value("stage_index", int64_t{0});
    o.bench = j.value("bench", "");
    o.resume = j.value("resume", false);
    o.model_dir = j.value("model_dir", "");
    o.packs_dir = j.value("packs_dir", "");
    o.answers_file = j.value("answers_file", "");
    const json datasets = j.value("datasets", json::object());  // outlives the loop over its items
    for (const auto& [name, d] : datasets.items()) {
      data::PreparedDataset dataset;
      dataset.kind = d.at("kind");
      dataset.dir = d.at("dir");
      dataset.options = d.at("options").get<std::map<std::string, std::string>>();
      o.datasets[name] = std::move(dataset);
    }
  } catch (const json::exception& e) {
    return Status(Code::kInvalidArgument, std::string("task options: ") + e.what());
  }
  return o;
}
// What the recipe itself says; hashes of files are compared where those are (coordinator/preparation.h).
std::map<std::string, std::string> own_handover(const TaskContext& context) {
  const recipes::StageRecipe& stage = context.stage();
  std::map<std::string, std::string> handover{{"template", stage.template_name}, {"image_aspect", stage.image_aspect}};
  if (stage.lora) handover["lora"] = recipes::to_string(*stage.lora);
  const recipes::ModelRecipe& model = context.recipe.model;
  if (stage.kind == "train" && model.llava.empty()) {
    handover["connector"] = model.connector.kind;
    handover["vision_layer"] = std::to_string(model.vision_layer);
  }
  return handover;
}

// The coordinator has compared more; this is against a task of a coordinator that did not.
Status check_fit(const TaskContext& context) {
  const storage::Manifest& manifest = context.checkpoint->manifest();
  const bool same_stage = context.task.kind == "evaluate" || context.options.resume;
  return storage::check_handover("stage " + context.stage().name, own_handover(context), manifest.name(),
                                 manifest.handover,
                                 same_stage ? storage::HandoverUse::kContinue : storage::HandoverUse::kStart);
}
}  // namespace

Result<TaskContext> decode_task(const cluster::Task& task, Env& env) {
  TaskContext context;
  context.task = task;
  context.env = &env;
  TEPHRA_ASSIGN_OR_RETURN(context.options, parse_options(task.options_json));
  TEPHRA_ASSIGN_OR_RETURN(context.recipe, recipes::from_json(task.recipe_json));
  if (context.options.stage_index < 0 ||
      context.options.stage_index >= static_cast<int64_t>(context.recipe.stages.size()))
    return Status(Code::kInvalidArgument,
                  "task names stage " + std::to_string(context.options.stage_index) + ", which the recipe lacks");
  if (!task.located_manifest.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(auto located, storage::decode_located_manifest(task.located_manifest));
    context.checkpoint =
        std::make_unique<storage::CheckpointReader>(env, context.options.packs_dir, std::move(located));
    TEPHRA_RETURN_IF_ERROR(check_fit(context));
  }
  return context;
}

}  // namespace tephra::worker
