// `tephra-worker score` and `tephra-worker generate`: a model folder on this process alone, without a coordinator.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "model/spec/model_config.h"

namespace tephra::worker {

struct InferenceModel {
  model::ModelPaths paths;
  int threads = 0;  // 0: all cores
};

struct ScoreOptions {
  InferenceModel model;
  std::string data, images, template_name = "v1", image_aspect = "square";
  int64_t max_length = 2048;
};
// JSON array of {"id", "loss", "tokens"}: the mean loss of each sample over its supervised tokens, in the file's order.
Result<std::string> score(const ScoreOptions& options);

struct GenerateRequest {
  InferenceModel model;
  std::string prompt, image, template_name = "v1", image_aspect = "square";
  int64_t max_new_tokens = 128;
  double temperature = 0, top_p = 1;
  uint64_t seed = 0;
};
// {"text", "token_ids"}
Result<std::string> generate(const GenerateRequest& request);

}  // namespace tephra::worker
