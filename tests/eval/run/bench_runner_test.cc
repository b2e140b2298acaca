// Every question is asked once over all ranks, and one that fills the model's context is answered with nothing instead
// of ending the run. The model is a fake that counts.
#include "eval/run/bench_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "eval/score/bench_metrics.h"
#include "eval/score/scienceqa.h"

namespace tephra::eval {
namespace {

class CountingGenerator : public model::Generator {
 public:
  explicit CountingGenerator(int64_t context) { config_.text.max_position_embeddings = context; }

  const model::ModelConfig& config() const override { return config_; }
  Result<std::vector<model::Generation>> generate(std::span<const model::Prompt> prompts,
                                                  const model::GenerateOptions&) override {
    for (const model::Prompt& prompt : prompts) longest = std::max(longest, static_cast<int64_t>(prompt.ids.size()));
    asked += prompts.size();
    std::vector<size_t>& lengths = batches.emplace_back();
    for (const model::Prompt& prompt : prompts) lengths.push_back(prompt.ids.size());
    return std::vector<model::Generation>(prompts.size(), {{kLetter}, true});
  }
  // The more ids, the less likely: each supervised id costs its value over the vocabulary's end.
  Result<std::vector<model::SampleScore>> score(std::span<const model::TokenizedSample> samples, int64_t) override {
    std::vector<model::SampleScore> out;
    for (const auto& sample : samples) {
      model::SampleScore score;
      for (size_t i = 1; i < sample.labels.size(); ++i) {
        if (sample.labels[i] == model::kIgnoreLabel) continue;
        ++score.tokens;
        score.loss += sample.labels[i] / 1000.0;
      }
      if (score.tokens > 0) score.loss /= static_cast<double>(score.tokens);
      out.push_back(score);
    }
    return out;
  }
  Result<Trace> trace(const model::TokenizedSample&) override { return Status(Code::kUnsupported, "not asked here"); }

  static constexpr int32_t kLetter = 300;
  size_t asked = 0;
  int64_t longest = 0;
  std::vector<std::vector<size_t>> batches;  // lengths of the prompts that were asked together

 private:
  model::ModelConfig config_;
};

QuestionSet questions() {
  QuestionSet set;
  for (int i = 0; i < 7; ++i) {
    Question q;
    q.id = std::to_string(i);
    std::string text = "What is it?";
    for (int word = 0; word < 40 * i; ++word) text += " red";
    q.turns = {{"human", text}};
    set.questions.push_back(q);
  }
  return set;
}

TEST(RunBench, AnswersEachQuestionOnceAndTooLongOnesWithNothing) {
  const auto tokenizer = data::Tokenizer::load(std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  const std::string letter = (*tokenizer)->decode(std::vector<int32_t>{CountingGenerator::kLetter}, true);
  ASSERT_FALSE(letter.empty());
  constexpr int64_t kContext = 180;  // the shortest prompt fits, the longest does not
  std::map<std::string, std::string> answers;
  size_t asked = 0;
  for (int rank = 0; rank < 2; ++rank) {
    CountingGenerator generator(kContext);
    RunOptions options;
    options.rank = rank;
    options.world_size = 2;
    options.batch = 2;
    const Status status = run_bench(generator, **tokenizer, {}, questions(), options,
                                    [&](const std::string& key, const std::string& text) {
                                      EXPECT_TRUE(answers.emplace(key, text).second) << key << " answered twice";
                                      return ok_status();
                                    });
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_LT(generator.longest, kContext);
    asked += generator.asked;
  }
  ASSERT_EQ(answers.size(), 7u);
  size_t empty = 0;
  for (const auto& [key, text] : answers) {
    empty += text.empty();
    EXPECT_TRUE(text.empty() || letter.find(text) != std::string::npos) << text;
  }
  EXPECT_FALSE(answers.at("0").empty());
  EXPECT_EQ(answers.at("6"), "");
  EXPECT_EQ(asked + empty, 7u);
}

TEST(RunBench, BatchesHoldPromptsOfLikeLength) {
  const auto tokenizer = data::Tokenizer::load(std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language");
  ASSERT_TRUE(tokenizer.ok());
  QuestionSet set = questions();
  std::swap(set.questions[0], set.questions[6]);
  std::swap(set.questions[2], set.questions[5]);
  for (int world : {1, 2}) {
    std::vector<std::vector<size_t>> all;
    for (int rank = 0; rank < world; ++rank) {
      CountingGenerator generator(2048);
      RunOptions options;
      options.rank = rank;
      options.world_size = world;
      options.batch = 2;
      ASSERT_TRUE(run_bench(generator, **tokenizer, {}, set, options, [](const auto&, const auto&) {
                    return ok_status();
                  }).ok());
      all.insert(all.end(), generator.batches.begin(), generator.batches.end());
    }
    ASSERT_EQ(all.size(), 4u) << world << " ranks";
    // No prompt outside of a batch is longer than its shortest and shorter than its longest.
    for (const auto& batch : all) {
      const auto [shortest, longest] = std::minmax_element(batch.begin(), batch.end());
      for (const auto& other : all)
        for (const size_t length : other)
          EXPECT_FALSE(&other != &batch && *shortest < length && length < *longest) << world << " ranks";
    }
  }
}

std::map<std::string, std::string> run(const QuestionSet& set, RunOptions options) {
  const auto tokenizer = data::Tokenizer::load(std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language");
  EXPECT_TRUE(tokenizer.ok());
  CountingGenerator generator(2048);
  std::map<std::string, std::string> answers;
  for (options.rank = 0; options.rank < options.world_size; ++options.rank) {
    const Status status =
        run_bench(generator, **tokenizer, {}, set, options, [&](const std::string& key, const std::string& text) {
          EXPECT_TRUE(answers.emplace(key, text).second) << key;
          return ok_status();
        });
    EXPECT_TRUE(status.ok()) << status.to_string();
  }
  return answers;
}

TEST(RunBench, WeighsEachChoicesReply) {
  QuestionSet set;
  Question q;
  q.id = "1";
  q.turns = {{"human", "Which is red?\nOptions: (A) sky (B) rose"}};
  q.choices = {"sky", "rose"};
  set.questions = {q};
  RunOptions options;
  options.mode = AskMode::kChoices;
  const auto answers = run(set, options);
  const std::string& text = answers.at("1");
  EXPECT_EQ(text.substr(0, 7), "loglik ");
  ASSERT_TRUE(parse_answer(AnswerRule::kLoglik, text, 2)) << text;
  // The replies differ in one letter's id alone, and the fake makes the smaller id the likelier.
  const auto tokenizer = data::Tokenizer::load(std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language");
  const bool a_first = (*tokenizer)->encode("A").back() < (*tokenizer)->encode("B").back();
  EXPECT_EQ(*parse_answer(AnswerRule::kLoglik, text, 2), a_first ? 0 : 1);
}

TEST(RunBench, GivesTheSameNumbersAtAnyWorldAndBatch) {
  QuestionSet set = questions();
  for (Question& q : set.questions) q.turns.push_back({"gpt", "It is " + q.id + "."});
  RunOptions options;
  options.mode = AskMode::kLoss;
  const auto once = run(set, options);
  ASSERT_EQ(once.size(), 7u);
  for (const auto& [id, text] : once)
    EXPECT_TRUE(parse_loss_answer(text) && parse_loss_answer(text)->tokens > 0) << text;
  for (int world : {1, 2, 4})
    for (int64_t batch : {1, 2, 3, 8}) {
      options.world_size = world;
      options.batch = batch;
      EXPECT_EQ(run(set, options), once) << world << " ranks, batches of " << batch;
    }
}

TEST(RunBench, GoesOnWhereItStopped) {
  QuestionSet set = questions();
  RunOptions options;
  const auto all = run(set, options);
  options.answered = {"1", "3", "6"};
  const auto rest = run(set, options);
  EXPECT_EQ(rest.size(), 4u);
  for (const auto& [id, text] : rest) EXPECT_EQ(text, all.at(id));
}

}  // namespace
}  // namespace tephra::eval
