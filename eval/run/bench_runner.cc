#include "eval/run/bench_runner.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "data/image.h"
#include "data/scienceqa.h"
#include "data/template.h"
#include "eval/score/bench_metrics.h"

namespace tephra::eval {
namespace {

// A conversation as training sees it.
Result<data::Encoded> encoded(const std::string& id, const std::vector<data::Turn>& turns, bool picture,
                              const data::Tokenizer& tokenizer, const RunOptions& options) {
  data::Sample sample{id, {}, turns, 0};
  if (picture) sample.images = {"picture"};
  const int length = static_cast<int>(options.max_length);
  TEPHRA_ASSIGN_OR_RETURN(auto out, data::encode_sample(sample, tokenizer, options.template_name, length));
  data::finish_encoding(out, tokenizer.unk_id(), length);
  return out;
}

struct Ask {
  const Question* question;
  bool swapped;
  std::vector<int32_t> ids;
  int64_t tokens = 0;  // the model's, the picture's included

  std::string key() const { return answer_key(question->id, swapped); }
  const std::string& image() const { return swapped ? question->swapped_image : question->image; }
};

// Ids of what the model reads: the prompt, or the whole conversation.
Result<std::vector<int32_t>> ids_of(const Question& q, const data::Tokenizer& tokenizer, const RunOptions& options) {
  if (options.mode != AskMode::kLoss) return data::encode_prompt(options.template_name, q.turns, tokenizer);
  TEPHRA_ASSIGN_OR_RETURN(auto sample, encoded(q.id, q.turns, !q.image.empty(), tokenizer, options));
  return sample.ids;
}

// Every question, in the order in which batches are cut: by length, so that little is padded, then as listed.
Result<std::vector<Ask>> all_asks(const QuestionSet& set, const data::Tokenizer& tokenizer, const RunOptions& options,
                                  const model::ModelConfig& config) {
  std::vector<Ask> asks;
  for (const Question& q : set.questions) {
    TEPHRA_ASSIGN_OR_RETURN(auto ids, ids_of(q, tokenizer, options));
    const auto words = static_cast<int64_t>(ids.size());
    if (!q.swapped_image.empty()) asks.push_back({&q, true, ids, words + config.tokens_per_image() - 1});
    asks.push_back({&q, false, std::move(ids), words + (q.image.empty() ? 0 : config.tokens_per_image() - 1)});
  }
  std::stable_sort(asks.begin(), asks.end(), [](const Ask& a, const Ask& b) { return a.tokens < b.tokens; });
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

// Answers a batch, one text an ask.
class Answerer {
 public:
  Answerer(model::Generator& generator, const data::Tokenizer& tokenizer, const RunOptions& options)
      : generator_(generator), tokenizer_(tokenizer), options_(options), stop_(data::stop_text(options.template_name)) {
    decoding_.max_new_tokens = options.max_new_tokens;
    decoding_.stop_ids = data::stop_ids(options.template_name, tokenizer);
  }

  Result<std::vector<std::string>> answer(std::span<const Ask> asks, const Pixels& pixels) {
    std::vector<std::string> texts;
    if (options_.mode == AskMode::kGenerate) {
      std::vector<model::Prompt> prompts;
      for (const Ask& ask : asks) {
        model::Prompt prompt;
        prompt.ids = ask.ids;
        if (const float* picture = picture_of(ask, pixels)) prompt.images.push_back(picture);
        prompts.push_back(std::move(prompt));
      }
      TEPHRA_ASSIGN_OR_RETURN(auto replies, generator_.generate(prompts, decoding_));
      for (const auto& reply : replies) texts.push_back(reply_text(reply.ids, tokenizer_, stop_));
      return texts;
    }
    for (const Ask& ask : asks) {  // one by one, so that no bit depends on the batch
      auto text = options_.mode == AskMode::kLoss ? loss_of(ask, pixels) : choices_of(ask, pixels);
      if (!text.ok()) return text.status().with_context("question '" + ask.question->id + "'");
      texts.push_back(std::move(*text));
    }
    return texts;
  }

 private:
  static const float* picture_of(const Ask& ask, const Pixels& pixels) {
    return ask.image().empty() ? nullptr : pixels.at(ask.image()).data();
  }

  Result<model::TokenizedSample> sample_of(const Ask& ask, const std::vector<data::Turn>& turns,
                                           const Pixels& pixels) const {
    TEPHRA_ASSIGN_OR_RETURN(auto whole, encoded(ask.question->id, turns, !ask.image().empty(), tokenizer_, options_));
    model::TokenizedSample sample;
    sample.ids = std::move(whole.ids);
    sample.labels = std::move(whole.labels);
    if (const float* picture = picture_of(ask, pixels)) sample.images.push_back(picture);
    return sample;
  }

  Result<std::string> loss_of(const Ask& ask, const Pixels& pixels) {
    TEPHRA_ASSIGN_OR_RETURN(const auto sample, sample_of(ask, ask.question->turns, pixels));
    TEPHRA_ASSIGN_OR_RETURN(const auto scores, generator_.score({&sample, 1}, options_.max_length));
    return loss_answer({scores[0].loss, scores[0].tokens});
  }

  // The likelihood of each reply that training would teach, were that choice the right one, without lecture and solution.
  Result<std::string> choices_of(const Ask& ask, const Pixels& pixels) {
    std::vector<model::TokenizedSample> samples;
    for (size_t i = 0; i < ask.question->choices.size(); ++i) {
      data::ScienceQaProblem problem;
      problem.choices = ask.question->choices;
      problem.answer = static_cast<int>(i);
      TEPHRA_ASSIGN_OR_RETURN(std::string reply, data::scienceqa_reply(problem, options_.prompt));
      std::vector<data::Turn> turns = ask.question->turns;
      turns.push_back({"gpt", std::move(reply)});
      TEPHRA_ASSIGN_OR_RETURN(samples.emplace_back(), sample_of(ask, turns, pixels));
    }
    TEPHRA_ASSIGN_OR_RETURN(const auto scores, generator_.score(samples, options_.max_length));
    std::vector<double> loglik;
    for (const auto& score : scores)
      if (score.tokens == 0) return std::string();  // the template masked a reply whole: no choice can be told
    for (const auto& score : scores) loglik.push_back(-score.loss * static_cast<double>(score.tokens));
    return loglik_answer(loglik);
  }

  model::Generator& generator_;
  const data::Tokenizer& tokenizer_;
  const RunOptions& options_;
  model::GenerateOptions decoding_;
  std::string stop_;
};
}  // namespace

Status run_bench(model::Generator& generator, const data::Tokenizer& tokenizer,
                 const data::PreprocessOptions& preprocess, const QuestionSet& set, const RunOptions& options,
                 const std::function<Status(const std::string& key, const std::string& text)>& on_answer) {
  const model::ModelConfig& config = generator.config();
  TEPHRA_ASSIGN_OR_RETURN(auto asks, all_asks(set, tokenizer, options, config));
  const auto fits = [&](const Ask& ask) {
    constexpr int64_t kChoiceTokens = 16;             // room for the longest choice: "The answer is A."
    if (options.mode == AskMode::kLoss) return true;  // cut to max_length, as in training
    return ask.tokens + (options.mode == AskMode::kChoices ? kChoiceTokens : 0) < config.text.max_position_embeddings;
  };
  const auto unread = std::stable_partition(asks.begin(), asks.end(), fits);
  for (auto ask = unread; ask != asks.end() && options.rank == 0; ++ask)
    if (!options.answered.contains(ask->key())) TEPHRA_RETURN_IF_ERROR(on_answer(ask->key(), ""));
  asks.erase(unread, asks.end());
  Answerer answerer(generator, tokenizer, options);
  const size_t batch = static_cast<size_t>(std::max<int64_t>(1, options.batch));
  for (size_t begin = 0, number = 0; begin < asks.size(); begin += batch, ++number) {
    if (static_cast<int>(number % static_cast<size_t>(options.world_size)) != options.rank) continue;
    if (options.stop && options.stop()) return {Code::kCancelled, "stopped while asking questions"};
    // Cut over all questions, so that ranks agree on whose each is whatever has been answered.
    std::vector<Ask> chunk(asks.begin() + static_cast<ptrdiff_t>(begin),
                           asks.begin() + static_cast<ptrdiff_t>(std::min(begin + batch, asks.size())));
    std::erase_if(chunk, [&](const Ask& a) { return options.answered.contains(a.key()); });
    if (chunk.empty()) continue;
    Pixels pixels;
    for (const Ask& ask : chunk) TEPHRA_RETURN_IF_ERROR(load_pixels(ask, preprocess, pixels));
    TEPHRA_ASSIGN_OR_RETURN(const auto texts, answerer.answer(chunk, pixels));
    for (size_t i = 0; i < chunk.size(); ++i) TEPHRA_RETURN_IF_ERROR(on_answer(chunk[i].key(), texts[i]));
  }
  return ok_status();
}

}  // namespace tephra::eval
