// One model that answers conversations: what `tephra generate` and `tephra chat` share.
// Threading: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"
#include "data/image.h"
#include "data/preprocess.h"
#include "data/tokenizer.h"
#include "model/nn/generate.h"
#include "model/spec/model_config.h"

namespace tephra::worker {

struct InferenceModel {
  model::ModelPaths paths;
  std::string template_name = "v1", image_aspect = "square";
  std::string dtype = "float32";  // what it computes in: float32, bfloat16 or float16
  int threads = 0;                // 0: all cores
};

struct ChatRequest {
  std::vector<data::Turn> turns;    // human and gpt in turn, human first and last
  std::vector<data::Image> images;  // one for each "<image>" in the turns, in order
  int64_t max_new_tokens = 128;
  model::Sampling sampling;
  std::vector<std::string> stop;  // texts that end the reply and are not part of it, beside the template's own
  // Called with each new piece of the reply, whole characters only; returning false ends it. May be empty.
  std::function<bool(std::string_view)> on_text{};
};

struct ChatReply {
  enum class Finish { kStop, kLength, kInterrupted };
  std::string text;           // without white space at either end
  std::vector<int32_t> ids;   // as generated, the stop id included
  int64_t prompt_tokens = 0;  // of the merged sequence, images expanded
  Finish finish = Finish::kStop;
};

// A model folder, or its parts, with tokenizer and preprocessing.
struct LoadedModel {
  std::unique_ptr<model::Generator> generator;
  std::unique_ptr<data::Tokenizer> tokenizer;
  data::PreprocessOptions preprocess;
  std::string template_name;
};
// Errors name the file and what to do (model_config.h, model_folder.h, tokenizer.h, preprocess.h).
Result<LoadedModel> load_model(const InferenceModel& from);

// `text` as a human turn that shows `images` pictures: tags in it stand for them; without any, they go in front.
std::string with_tags(const std::string& text, size_t images);

// kInvalidArgument: turns that do not alternate, tags without images or the reverse, a sampling value out of range, a
// prompt that fills the context.
Result<ChatReply> reply(const LoadedModel& model, const ChatRequest& request);

}  // namespace tephra::worker
