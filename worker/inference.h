// `tephra-worker score`, `generate` and `chat`: a model folder on this process alone, without a coordinator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "worker/chat_model.h"

namespace tephra::worker {

struct ScoreOptions {
  InferenceModel model;
  std::string data, images;
  int64_t max_length = 2048;
};
// JSON array of {"id", "loss", "tokens"}: the mean loss of each sample over its supervised tokens, in the file's order.
Result<std::string> score(const ScoreOptions& options);

struct GenerateRequest {
  InferenceModel model;
  std::string prompt;               // its <image> tags stand for the images; without any they go in front of it
  std::vector<std::string> images;  // files
  int64_t max_new_tokens = 128;
  model::Sampling sampling;
  std::vector<std::string> stop;
};
// {"text", "token_ids"}
Result<std::string> generate(const GenerateRequest& request);

}  // namespace tephra::worker
