// A stage's model as the executor wants it: units, modules, and the function that turns samples into a micro-batch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/preprocess.h"
#include "data/tokenizer.h"
#include "model/nn/feature_cache.h"
#include "model/nn/units.h"
#include "model/spec/model_config.h"
#include "sharding/exec/unit_module.h"
#include "sharding/plan/unit.h"
#include "worker/samples.h"
#include "worker/task_context.h"

namespace tephra::worker {

struct StageModel {
  std::vector<sharding::UnitSpec> units;
  model::Modules modules;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  data::PreprocessOptions preprocess;
  std::shared_ptr<model::FeatureCache> features;  // used by make_batch; null: none
  std::function<Result<std::unique_ptr<sharding::MicroBatch>>(const std::vector<TrainingSample>&)> make_batch;
};

// Where a LLaVA model's kept configuration, tokenizer and preprocessor files are.
struct ModelSource {
  model::ModelPaths paths;
  model::PartsOptions parts;
  std::string tokenizer_dir, image_dir;
};
Result<ModelSource> locate_model(const recipes::Recipe& recipe, const std::string& model_dir);

// Reads the configuration files that the coordinator kept for the job. Errors name the file.
Result<StageModel> build_stage_model(const TaskContext& context);

}  // namespace tephra::worker
