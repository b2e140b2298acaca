#include "eval/run/bench_runner.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "data/image.h"
#include "data/template.h"

namespace tephra::eval {
namespace {

struct Ask {
  const Question* question;
  bool swapped;
  std::vector<int32_t> ids;

  std::string key() const { return answer_key(question->id, swapped); }
  const std::string& image() const { return swapped ? question->swapped_image : question->image; }
};

// Every question, in the order in which batches are cut: by prompt length, so that little is padded, then as listed.
Result<std::vector<Ask>> all_asks(const QuestionSet& set, const data::Tokenizer& tokenizer, const RunOptions& options) {
  std::vector<Ask> asks;
  for (const Question& q : set.questions) {
    TEPHRA_ASSIGN_OR_RETURN(auto ids, data::encode_prompt(options.template_name, q.turns, tokenizer));
    if (!q.swapped_image.empty()) asks.push_back({&q, true, ids});
    asks.push_back({&q, false, std::move(ids)});
  }
  std::erase_if(asks, [&](const Ask& a) { return options.answered.contains(a.key()); });
  std::stable_sort(asks.begin(), asks.end(), [](const Ask& a, const Ask& b) { return a.ids.size() < b.ids.size(); });
  return asks;
}

using Pixels = std::map<std::string, std::vector<float>>;

Status load_pixels(const Ask& ask, const data::PreprocessOptions& preprocess, Pixels& pixels) {
  if (ask.image().empty() || pixels.contains(ask.image())) return ok_status();
  auto image = data::load_image(ask.image());
  if (!image.ok()) return image.status().with_context("question '" + ask.question->id + "'");
  pixels[ask.image()] = data::preprocess(*image, preprocess);
  return ok_status();
}

std::string reply_text(const std::vector<int32_t>& ids, const data::Tokenizer& tokenizer, const std::string& stop) {
  std::string text = tokenizer.decode(ids, true);
  if (size_t at = stop.empty() ? std::string::npos : text.find(stop); at != std::string::npos) text.resize(at);
  size_t begin = text.find_first_not_of(" \n\t\r");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \n\t\r") - begin + 1);
}
}  // namespace

Status run_bench(model::Generator& generator, const data::Tokenizer& tokenizer,
                 const data::PreprocessOptions& preprocess, const QuestionSet& set, const RunOptions& options,
                 const std::function<Status(const std::string& key, const std::string& text)>& on_answer) {
  TEPHRA_ASSIGN_OR_RETURN(auto asks, all_asks(set, tokenizer, options));
  const model::ModelConfig& config = generator.config();
  const auto fits = [&](const Ask& ask) {
    const int64_t tokens =
        static_cast<int64_t>(ask.ids.size()) + (ask.image().empty() ? 0 : config.tokens_per_image() - 1);
    return tokens < config.text.max_position_embeddings;
  };
  const auto unread = std::stable_partition(asks.begin(), asks.end(), fits);
  for (auto ask = unread; ask != asks.end() && options.rank == 0; ++ask)
    TEPHRA_RETURN_IF_ERROR(on_answer(ask->key(), ""));
  asks.erase(unread, asks.end());
  model::GenerateOptions decoding;
  decoding.max_new_tokens = options.max_new_tokens;
  decoding.stop_ids = data::stop_ids(options.template_name, tokenizer);
  const std::string stop = data::stop_text(options.template_name);
  const size_t batch = static_cast<size_t>(std::max<int64_t>(1, options.batch));
  for (size_t begin = 0, number = 0; begin < asks.size(); begin += batch, ++number) {
    if (static_cast<int>(number % static_cast<size_t>(options.world_size)) != options.rank) continue;
    if (options.stop && options.stop()) return {Code::kCancelled, "stopped while asking questions"};
    std::span<const Ask> chunk(asks.data() + begin, std::min(batch, asks.size() - begin));
    Pixels pixels;
    std::vector<model::Prompt> prompts;
    for (const Ask& ask : chunk) TEPHRA_RETURN_IF_ERROR(load_pixels(ask, preprocess, pixels));
    for (const Ask& ask : chunk) {
      model::Prompt prompt;
      prompt.ids = ask.ids;
      if (!ask.image().empty()) prompt.images.push_back(pixels[ask.image()].data());
      prompts.push_back(std::move(prompt));
    }
    TEPHRA_ASSIGN_OR_RETURN(auto replies, generator.generate(prompts, decoding));
    for (size_t i = 0; i < chunk.size(); ++i)
      TEPHRA_RETURN_IF_ERROR(on_answer(chunk[i].key(), reply_text(replies[i].ids, tokenizer, stop)));
  }
  return ok_status();
}

}  // namespace tephra::eval
