#include "worker/inference.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "data/batch.h"

namespace tephra::worker {
namespace {
// Dumped with invalid UTF-8 replaced: a reply may end inside a character.
std::string dump(const nlohmann::json& j) { return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }
}  // namespace

Result<std::string> score(const ScoreOptions& options) {
  TEPHRA_ASSIGN_OR_RETURN(LoadedModel m, load_model(options.model));
  data::DatasetOptions from;
  from.conversations_path = options.data;
  from.image_root = options.images;
  from.template_name = options.model.template_name;
  from.max_length = static_cast<int>(options.max_length);
  from.preprocess = m.preprocess;
  TEPHRA_ASSIGN_OR_RETURN(auto dataset, data::Dataset::open(from, m.tokenizer.get()));
  nlohmann::json out = nlohmann::json::array();
  for (uint64_t i = 0; i < dataset->size(); ++i) {
    TEPHRA_ASSIGN_OR_RETURN(auto encoded, dataset->get(i));
    model::TokenizedSample sample;
    sample.ids = std::move(encoded.ids);
    sample.labels = std::move(encoded.labels);
    for (const std::vector<float>& image : encoded.pixels) sample.images.push_back(image.data());
    auto scored = m.generator->score({&sample, 1}, options.max_length);
    if (!scored.ok()) return scored.status().with_context("sample '" + encoded.id + "'");
    out.push_back({{"id", encoded.id}, {"loss", scored->front().loss}, {"tokens", scored->front().tokens}});
  }
  return dump(out);
}

Result<std::string> generate(const GenerateRequest& request) {
  TEPHRA_ASSIGN_OR_RETURN(const LoadedModel m, load_model(request.model));
  ChatRequest asked;
  asked.turns = {{"human", with_tags(request.prompt, request.images.size())}};
  for (const std::string& file : request.images) {
    TEPHRA_ASSIGN_OR_RETURN(asked.images.emplace_back(), data::load_image(file));
  }
  asked.max_new_tokens = request.max_new_tokens;
  asked.sampling = request.sampling;
  asked.stop = request.stop;
  TEPHRA_ASSIGN_OR_RETURN(const ChatReply answer, reply(m, asked));
  return dump({{"text", answer.text}, {"token_ids", answer.ids}});
}

}  // namespace tephra::worker
