#include "worker/inference.h"

#include <ATen/Parallel.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "data/batch.h"
#include "data/image.h"
#include "data/template.h"
#include "model/nn/generate.h"
#include "model/spec/model_folder.h"

namespace tephra::worker {
namespace {
// Dumped with invalid UTF-8 replaced: a reply may end inside a character.
std::string dump(const nlohmann::json& j) { return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }

struct Loaded {
  std::unique_ptr<model::Generator> generator;
  std::unique_ptr<data::Tokenizer> tokenizer;
  data::PreprocessOptions preprocess;
};

Result<Loaded> load(const InferenceModel& from, const std::string& aspect) {
  if (from.threads > 0) at::set_num_threads(from.threads);
  const bool whole = !from.paths.model.empty();
  Loaded out;
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(from.paths));
  TEPHRA_ASSIGN_OR_RETURN(auto source, model::open_model(from.paths));
  TEPHRA_ASSIGN_OR_RETURN(out.generator, model::Generator::create(config, *source));
  TEPHRA_ASSIGN_OR_RETURN(out.tokenizer, data::Tokenizer::load(whole ? from.paths.model : from.paths.llm));
  TEPHRA_ASSIGN_OR_RETURN(out.preprocess, data::load_preprocess(whole ? from.paths.model : from.paths.vision));
  TEPHRA_ASSIGN_OR_RETURN(out.preprocess.aspect, data::parse_aspect(aspect));
  return out;
}
}  // namespace

Result<std::string> score(const ScoreOptions& options) {
  TEPHRA_ASSIGN_OR_RETURN(Loaded m, load(options.model, options.image_aspect));
  data::DatasetOptions from;
  from.conversations_path = options.data;
  from.image_root = options.images;
  from.template_name = options.template_name;
  from.max_length = static_cast<int>(options.max_length);
  from.preprocess = m.preprocess;
  TEPHRA_ASSIGN_OR_RETURN(auto dataset, data::Dataset::open(from, m.tokenizer.get()));
  nlohmann::json out = nlohmann::json::array();
  for (uint64_t i = 0; i < dataset->size(); ++i) {
    TEPHRA_ASSIGN_OR_RETURN(auto encoded, dataset->get(i));
    model::TokenizedSample sample;
    sample.ids = std::move(encoded.ids);
    sample.labels = std::move(encoded.labels);
    if (encoded.pixels) sample.images.push_back(encoded.pixels->data());
    auto scored = m.generator->score({&sample, 1}, options.max_length);
    if (!scored.ok()) return scored.status().with_context("sample '" + encoded.id + "'");
    out.push_back({{"id", encoded.id}, {"loss", scored->front().loss}, {"tokens", scored->front().tokens}});
  }
  return dump(out);
}

Result<std::string> generate(const GenerateRequest& request) {
  TEPHRA_ASSIGN_OR_RETURN(Loaded m, load(request.model, request.image_aspect));
  std::vector<data::Turn> turns = {{"human", (request.image.empty() ? "" : "<image>\n") + request.prompt}};
  TEPHRA_ASSIGN_OR_RETURN(auto ids, data::encode_prompt(request.template_name, turns, *m.tokenizer));
  std::vector<float> pixels;
  model::Prompt prompt;
  prompt.ids = std::move(ids);
  if (!request.image.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(auto image, data::load_image(request.image));
    pixels = data::preprocess(image, m.preprocess);
    prompt.images.push_back(pixels.data());
  }
  model::GenerateOptions decoding;
  decoding.max_new_tokens = request.max_new_tokens;
  decoding.stop_ids = data::stop_ids(request.template_name, *m.tokenizer);
  decoding.temperature = request.temperature;
  decoding.top_p = request.top_p;
  decoding.seed = request.seed;
  TEPHRA_ASSIGN_OR_RETURN(auto replies, m.generator->generate({&prompt, 1}, decoding));
  const auto& reply = replies.front();
  std::string text = m.tokenizer->decode(reply.ids, true);
  size_t begin = text.find_first_not_of(" \n\t\r");
  text = begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \n\t\r") - begin + 1);
  return dump({{"text", text}, {"token_ids", reply.ids}});
}

}  // namespace tephra::worker
