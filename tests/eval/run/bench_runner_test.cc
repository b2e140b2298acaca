// Every question is asked once over all ranks, and one that fills the model's context is answered with nothing instead
// of ending the run. The model is a fake that counts.
#include "eval/run/bench_runner.h"

#include <gtest/gtest.h>

#include <map>

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
    return std::vector<model::Generation>(prompts.size(), {{kLetter}, true});
  }
  Result<std::vector<model::SampleScore>> score(std::span<const model::TokenizedSample>, int64_t) override {
    return Status(Code::kUnsupported, "not asked here");
  }
  Result<Trace> trace(const model::TokenizedSample&) override { return Status(Code::kUnsupported, "not asked here"); }

  static constexpr int32_t kLetter = 300;
  size_t asked = 0;
  int64_t longest = 0;

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

}  // namespace
}  // namespace tephra::eval
