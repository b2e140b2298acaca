#include "coordinator/planner.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/env.h"
#include "base/text.h"
#include "data/conversation_source.h"
#include "model/spec/units.h"
#include "recipes/quantity.h"
#include "sharding/plan/prefetch.h"
#include "sharding/policy/stage_policy.h"

namespace tephra::coordinator {
namespace {

using recipes::Recipe;
using recipes::StageRecipe;
using sharding::MicroBatchSize;

// A rank on the CPU, before it holds anything: LibTorch, MPI and their pages. `tephra-worker calibrate` found 133 MB.
constexpr int64_t kProcessBytes = 150'000'000;

Status invalid(const std::string& message) { return Status(Code::kInvalidArgument, message); }

// The stage's datasets together: samples add up, means are weighted by them.
DataFacts facts_of(const Recipe& recipe, const StageRecipe& stage, const PlanSetting& setting) {
  DataFacts sum{.images = 0};
  double tokens = 0, images = 0;
  bool counted = true;
  for (const recipes::DataUse& use : stage.data) {
    DataFacts facts;
    if (const auto known = setting.data.find(use.dataset); known != setting.data.end()) {
      facts = known->second;
    } else if (const recipes::DatasetRecipe* dataset = recipe.find_dataset(use.dataset);
               dataset != nullptr && dataset->kind == "llava" &&
               Env::posix().exists(dataset->option("conversations"))) {
      const auto samples = data::open_conversations(dataset->option("conversations"));
      if (samples.ok()) facts.samples = static_cast<int64_t>((*samples)->size());
    }
    const int64_t longest = std::min(stage.max_length, facts.longest > 0 ? facts.longest : stage.max_length);
    const double mean =
        facts.tokens > 0 ? std::min(facts.tokens, static_cast<double>(longest)) : static_cast<double>(longest);
    const double weight = stage.data.size() == 1 ? 1 : static_cast<double>(facts.samples);
    counted = counted && facts.samples > 0;
    sum.samples += facts.samples;
    sum.longest = std::max(sum.longest, longest);
    sum.tokens += weight * mean;
    sum.images += weight * facts.images;
    tokens = std::max(tokens, mean);
    images = std::max(images, facts.images);
  }
  if (!counted) sum.samples = 0;
  const double weights = stage.data.size() == 1 ? 1 : static_cast<double>(sum.samples);
  sum.tokens = weights > 0 ? sum.tokens / weights : tokens;
  sum.images = weights > 0 ? sum.images / weights : images;
  return sum;
}

MicroBatchSize micro_batch(const StageRecipe& stage, double tokens, double images, int64_t image_tokens) {
  if (stage.kind == "contrastive") return {.tokens = stage.micro_batch};
  const auto samples = static_cast<double>(stage.micro_batch);
  const double of_images = std::min(tokens, images * static_cast<double>(image_tokens));
  return {.tokens = std::llround(samples * tokens),
          .image_tokens = std::llround(samples * of_images),
          .length = std::llround(tokens)};
}

int64_t weight_bytes(const std::string& folder) {
  int64_t bytes = 0;
  const auto names = Env::posix().list(folder);
  if (!names.ok()) return 0;
  for (const std::string& name : *names) {
    if (!name.ends_with(".safetensors")) continue;
    const auto file = Env::posix().open(folder + "/" + name);
    if (file.ok()) bytes += static_cast<int64_t>((*file)->size_bytes());
  }
  return bytes;
}

bool parse_number(std::string_view text, double* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0 && *out < 1e15;
}

}  // namespace

Result<StageUnits> units_of(const Recipe& recipe, const StageRecipe& stage) {
  const std::set<std::string> train(stage.train.begin(), stage.train.end());
  const auto lora = model::lora_config(stage.lora);
  if (stage.kind == "contrastive") {
    TEPHRA_ASSIGN_OR_RETURN(const auto config, model::load_clip_config(recipe.model.vision));
    return StageUnits{model::make_clip_units(config, model::kClipGroups)};
  }
  if (stage.kind == "language_model") {
    TEPHRA_ASSIGN_OR_RETURN(const auto config, model::load_llama_config(recipe.model.language));
    return StageUnits{model::make_lm_units(config, train, lora)};
  }
  model::ModelPaths paths;
  model::PartsOptions parts;
  paths.model = recipe.model.llava;
  paths.vision = recipe.model.vision;
  paths.llm = recipe.model.language;
  if (paths.model.empty()) {
    parts.connector_kind = recipe.model.connector.kind;
    parts.vision_layer = static_cast<int>(recipe.model.vision_layer);
  }
  TEPHRA_ASSIGN_OR_RETURN(const auto config, model::load_model_config(paths, parts));
  return StageUnits{model::make_units(config, train, lora), config.tokens_per_image()};
}

sharding::KeptCheckpoints kept_checkpoints(const recipes::CheckpointRecipe& checkpoint) {
  sharding::KeptCheckpoints kept;
  kept.best_tag = checkpoint.best.has_value();
  if (!checkpoint.keep) return kept;
  kept.last = checkpoint.keep->last;
  kept.best = checkpoint.keep->best;
  kept.every_steps = checkpoint.keep->every;
  kept.max_bytes = recipes::parse_bytes(checkpoint.keep->max_bytes).value_or(0);
  return kept;
}

Result<std::pair<std::string, DataFacts>> parse_data_facts(const std::string& text) {
  const Status form = invalid("--data " + text +
                              ": write NAME=SAMPLES and, after commas, tokens=, longest= or images=; for example "
                              "align=558128,tokens=620,longest=700");
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return form;
  std::pair<std::string, DataFacts> out{text.substr(0, equals), {}};
  size_t begin = equals + 1;
  for (int part = 0; begin <= text.size(); ++part) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const size_t sign = part == 0 ? 0 : item.find('=');
    double value = 0;
    if (sign == std::string::npos || !parse_number(std::string_view(item).substr(part == 0 ? 0 : sign + 1), &value))
      return form;
    const std::string key = part == 0 ? "samples" : item.substr(0, sign);
    if (key == "samples")
      out.second.samples = std::llround(value);
    else if (key == "tokens")
      out.second.tokens = value;
    else if (key == "longest")
      out.second.longest = std::llround(value);
    else if (key == "images")
      out.second.images = value;
    else
      return form;
    begin = end + 1;
  }
  return out;
}

Result<PlannedStage> plan_stage(const Recipe& recipe, const StageRecipe& stage, const PlanSetting& setting) {
  PlannedStage plan;
  plan.name = stage.name;
  const int64_t ranks = setting.cluster ? setting.cluster->world_size() : recipe.gang.ranks;
  TEPHRA_ASSIGN_OR_RETURN(StageUnits made, units_of(recipe, stage));
  plan.units = std::move(made.units);
  // The recipe's own precision, unless other numbers are asked for.
  model::set_compute_dtypes(plan.units, stage.precision.by_group());
  if (sharding::element_bytes(setting.numbers) == 2) {
    for (sharding::UnitSpec& unit : plan.units) unit.compute_dtype = DType::kBFloat16;
  }
  TEPHRA_ASSIGN_OR_RETURN(plan.policy, sharding::stage_policy(stage, ranks));
  const DataFacts facts = facts_of(recipe, stage, setting);
  plan.longest = micro_batch(stage, static_cast<double>(facts.longest), std::ceil(facts.images), made.image_tokens);
  plan.mean = micro_batch(stage, facts.tokens, facts.images, made.image_tokens);
  plan.runtime_bytes = setting.cluster ? setting.cluster->device.runtime_bytes : kProcessBytes;
  plan.feature_cache_bytes = stage.feature_cache_bytes();
  std::optional<sharding::OpSeconds> seconds;
  if (setting.cluster) {
    for (const sharding::UnitSpec& unit : plan.units)
      TEPHRA_RETURN_IF_ERROR(
          sharding::check_numbers(setting.cluster->device, sharding::numbers_of(unit, setting.numbers)));
    seconds = sharding::op_seconds(plan.units, plan.policy, plan.mean, *setting.cluster, setting.numbers);
  }
  if (stage.sharding.prefetch == "auto") {
    const int64_t has = memory_of_a_rank(setting, plan);
    const sharding::PrefetchChoice choice = sharding::choose_prefetch(
        plan.units, plan.policy, plan.longest,
        has > 0 ? std::max<int64_t>(1, has - plan.runtime_bytes - plan.feature_cache_bytes) : 0,
        seconds ? &*seconds : nullptr);
    plan.policy.prefetch = choice.depth;
    plan.prefetch_reason = choice.reason;
  }
  plan.schedule = sharding::make_schedule(plan.units, plan.policy);
  plan.estimate = sharding::estimate(plan.schedule, plan.units, plan.policy, plan.longest);
  plan.samples = facts.samples;
  plan.steps = stage.total_steps(facts.samples);
  plan.tokens_per_step = static_cast<double>(plan.mean.tokens) * static_cast<double>(stage.micro_batches_per_step());
  if (seconds) plan.time = sharding::step_time(plan.schedule, plan.units, plan.policy, *seconds);
  plan.checkpoint_bytes = sharding::checkpoint_bytes(plan.units, plan.policy.moments);
  plan.checkpoint_count = sharding::checkpoint_count(plan.steps, stage.checkpoint.every_steps);
  plan.checkpoint_peak = sharding::checkpoint_peak(plan.steps, stage.checkpoint.every_steps,
                                                   kept_checkpoints(stage.checkpoint), plan.checkpoint_bytes);
  return plan;
}

int64_t memory_of_a_rank(const PlanSetting& setting, const PlannedStage& plan) {
  return setting.cluster ? setting.cluster->device.memory_bytes : setting.machine_bytes / plan.policy.world_size;
}

bool fits(const PlanSetting& setting, const PlannedStage& plan) {
  const int64_t has = memory_of_a_rank(setting, plan);
  return has == 0 || plan.memory_bytes() <= has;
}

int64_t base_bytes(const Recipe& recipe, const PlannedStage& first) {
  int64_t bytes = 0;
  for (const std::string& folder : {recipe.model.llava, recipe.model.vision, recipe.model.language})
    if (!folder.empty()) bytes += weight_bytes(folder);
  if (bytes > 0) return bytes;
  int64_t elements = 0;
  for (const sharding::UnitSpec& unit : first.units)
    for (const sharding::TensorSpec& tensor : unit.tensors) elements += numel(tensor.shape);
  return elements * 2;
}

}  // namespace tephra::coordinator
