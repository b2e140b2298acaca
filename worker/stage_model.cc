#include "worker/stage_model.h"

#include <set>
#include <utility>

#include "model/nn/batch.h"
#include "model/spec/units.h"

namespace tephra::worker {
namespace {

model::TokenizedSample view(const TrainingSample& sample) {
  model::TokenizedSample out;
  out.ids = sample.ids;
  out.labels = sample.labels;
  out.position = sample.position;
  for (const std::vector<float>& image : sample.pixels) out.images.push_back(image.data());
  return out;
}

std::vector<model::TokenizedSample> views(const std::vector<TrainingSample>& samples) {
  std::vector<model::TokenizedSample> out;
  for (const TrainingSample& s : samples) out.push_back(view(s));
  return out;
}

template <typename Batch>
Result<std::unique_ptr<sharding::MicroBatch>> boxed(Result<Batch> batch) {
  if (!batch.ok()) return batch.status();
  return std::unique_ptr<sharding::MicroBatch>(std::make_unique<Batch>(std::move(batch).value()));
}

std::set<std::string> groups(const recipes::StageRecipe& stage) { return {stage.train.begin(), stage.train.end()}; }

// Of what features depend on beside the picture.
Hash128 tower_hash(const TaskContext& context, const model::ModelConfig& config,
                   const std::vector<sharding::UnitSpec>& units) {
  std::string text = std::to_string(config.vision_layer) + " " + context.stage().precision.vision + " " +
                     std::to_string(context.recipe.seed);
  for (const sharding::UnitSpec& unit : units) {
    if (unit.group != "vision") continue;
    for (const sharding::TensorSpec& tensor : unit.tensors) {
      const storage::ManifestTensor* kept =
          context.checkpoint ? context.checkpoint->manifest().find(tensor.name, storage::StateKind::kParameter)
                             : nullptr;
      text += "\n" + tensor.name + " " + (kept != nullptr ? kept->content.hex() : "initial");
    }
  }
  return hash_text(text);
}

Result<StageModel> build_llava(const TaskContext& context) {
  TEPHRA_ASSIGN_OR_RETURN(ModelSource source, locate_model(context.recipe, context.options.model_dir));
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(source.paths, source.parts));
  const recipes::StageRecipe& stage = context.stage();
  StageModel m;
  const auto lora = model::lora_config(stage.lora);
  m.units = model::make_units(config, groups(stage), lora);
  model::set_compute_dtypes(m.units, stage.precision.by_group());
  m.modules = model::make_modules(config, lora);
  TEPHRA_ASSIGN_OR_RETURN(m.tokenizer, data::Tokenizer::load(source.tokenizer_dir));
  TEPHRA_ASSIGN_OR_RETURN(m.preprocess, data::load_preprocess(source.image_dir));
  TEPHRA_ASSIGN_OR_RETURN(m.preprocess.aspect, data::parse_aspect(stage.image_aspect));
  if (const int64_t bytes = stage.feature_cache_bytes(); bytes > 0)
    m.features = std::make_shared<model::FeatureCache>(bytes, tower_hash(context, config, m.units));
  m.make_batch = [config, max_length = stage.max_length,
                  features = m.features](const std::vector<TrainingSample>& samples) {
    auto tokenized = views(samples);
    auto batch = model::make_batch(tokenized, config, max_length);
    if (batch.ok() && features) features->look_up(*batch);
    return boxed(std::move(batch));
  };
  return m;
}

Result<StageModel> build_language_model(const TaskContext& context) {
  const std::string dir = context.options.model_dir + "/language";
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_llama_config(dir));
  const recipes::StageRecipe& stage = context.stage();
  StageModel m;
  const auto lora = model::lora_config(stage.lora);
  m.units = model::make_lm_units(config, groups(stage), lora);
  model::set_compute_dtypes(m.units, stage.precision.by_group());
  m.modules = model::make_lm_modules(config, lora);
  TEPHRA_ASSIGN_OR_RETURN(m.tokenizer, data::Tokenizer::load(dir));
  m.make_batch = [config, max_length = stage.max_length](const std::vector<TrainingSample>& samples) {
    auto tokenized = views(samples);
    return boxed(model::make_lm_batch(tokenized, config, max_length));
  };
  return m;
}

Result<StageModel> build_clip(const TaskContext& context) {
  const std::string dir = context.options.model_dir + "/vision";
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_clip_config(dir));
  StageModel m;
  m.units = model::make_clip_units(config, model::kClipGroups);
  m.modules = model::make_clip_modules(config);
  TEPHRA_ASSIGN_OR_RETURN(m.tokenizer, data::Tokenizer::load(dir));
  TEPHRA_ASSIGN_OR_RETURN(m.preprocess, data::load_preprocess(dir));
  m.make_batch = [config](const std::vector<TrainingSample>& samples) {
    std::vector<model::ClipSample> pairs;
    for (const TrainingSample& s : samples) {
      pairs.push_back({s.ids, s.pixels.front().data(), s.position});
      // The text tower's own marks: it is read out at the end mark, which need not be the language model's.
      pairs.back().ids.front() = static_cast<int32_t>(config.text.bos_token_id);
      pairs.back().ids.back() = static_cast<int32_t>(config.text.eos_token_id);
    }
    return boxed(model::make_clip_batch(pairs, config));
  };
  return m;
}
}  // namespace

Result<ModelSource> locate_model(const recipes::Recipe& recipe, const std::string& model_dir) {
  ModelSource source;
  if (!recipe.model.llava.empty()) {
    source.paths.model = model_dir + "/llava";
    source.tokenizer_dir = source.image_dir = source.paths.model;
  } else {
    source.paths.vision = source.image_dir = model_dir + "/vision";
    source.paths.llm = source.tokenizer_dir = model_dir + "/language";
    source.parts.connector_kind = recipe.model.connector.kind;
    source.parts.vision_layer = static_cast<int>(recipe.model.vision_layer);
  }
  return source;
}

Result<StageModel> build_stage_model(const TaskContext& context) {
  const std::string& kind = context.stage().kind;
  if (kind == "train") return build_llava(context);
  if (kind == "language_model") return build_language_model(context);
  if (kind == "contrastive") return build_clip(context);
  return Status(Code::kUnsupported,
                "stage '" + context.stage().name + "' is of kind '" + kind + "', which this worker does not know");
}

}  // namespace tephra::worker
