// The parsing rules on corner cases, and everything recorded of ScienceQA's and LLaVA's own scripts on LLaVA's
// published predictions.
#include "eval/score/scienceqa.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace tephra::eval {
namespace {

using Choice = std::optional<int>;

TEST(ParseAnswer, ScienceQaRuleWantsItsSentenceExactlyOnce) {
  const auto parse = [](std::string_view text) { return parse_answer(AnswerRule::kScienceQa, text, 4); };
  EXPECT_EQ(parse("Because of this. The answer is B."), Choice(1));
  EXPECT_EQ(parse("The answer is C!"), Choice(2));      // the dot is any character
  EXPECT_EQ(parse("The answer is C"), std::nullopt);    // but there has to be one
  EXPECT_EQ(parse("The answer is C\n"), std::nullopt);  // and not a newline
  EXPECT_EQ(parse("The answer is A. The answer is A."), std::nullopt);
  EXPECT_EQ(parse("The answer is The answer is D."), std::nullopt);  // the first match names T and eats the rest
  EXPECT_EQ(parse("The answer is: The answer is D."), Choice(3));
  EXPECT_EQ(parse("The answer is b."), std::nullopt);
  EXPECT_EQ(parse("The answer is E."), std::nullopt);  // past four choices
  EXPECT_EQ(parse("The answer is Z."), std::nullopt);
  EXPECT_EQ(parse("B"), std::nullopt);
  EXPECT_EQ(parse(""), std::nullopt);
}

TEST(ParseAnswer, LlavaRuleTakesABareLetterFirst) {
  const auto parse = [](std::string_view text) { return parse_answer(AnswerRule::kLlava, text, 5); };
  EXPECT_EQ(parse("B"), Choice(1));
  EXPECT_EQ(parse("F"), std::nullopt);
  EXPECT_EQ(parse("D. The answer is A."), Choice(3));
  EXPECT_EQ(parse("D.The answer is A."), Choice(0));
  EXPECT_EQ(parse("D."), std::nullopt);  // two characters, as the original demands three
  EXPECT_EQ(parse(" B"), std::nullopt);
}

TEST(ParseAnswer, LetterRuleForgivesAndSkipsTheArticle) {
  const auto parse = [](std::string_view text) { return parse_answer(AnswerRule::kLetter, text, 4); };
  EXPECT_EQ(parse(" B\n"), Choice(1));
  EXPECT_EQ(parse("(C) the circle"), Choice(2));
  EXPECT_EQ(parse("Answer: D"), Choice(3));
  EXPECT_EQ(parse("A red circle, so (B)"), Choice(1));
  EXPECT_EQ(parse("Because it is blue"), std::nullopt);
  EXPECT_EQ(parse("E"), std::nullopt);
}

TEST(ParseAnswer, LoglikRuleTakesTheMostLikelyChoice) {
  const auto parse = [](const std::string& text) { return parse_answer(AnswerRule::kLoglik, text, 3); };
  EXPECT_EQ(parse(loglik_answer({-2.5, -0.125, -7})), Choice(1));
  EXPECT_EQ(parse("loglik -1 -1 -2"), Choice(0));  // equal: the first
  EXPECT_EQ(parse("loglik -1 -2"), std::nullopt);  // another number of choices
  EXPECT_EQ(parse("loglik -1 nan -2"), std::nullopt);
  EXPECT_EQ(parse("loglik -1 x -2"), std::nullopt);
  EXPECT_EQ(parse("B"), std::nullopt);
  EXPECT_EQ(parse(""), std::nullopt);
}

TEST(ParseAnswer, RuleNamesRoundTrip) {
  for (const char* name : {"scienceqa", "llava", "letter", "loglik"})
    EXPECT_EQ(to_string(*parse_answer_rule(name)), name);
  EXPECT_EQ(parse_answer_rule("gpt").status().code(), Code::kInvalidArgument);
}

TEST(ScoreScienceQa, CountsOverlappingColumns) {
  data::ScienceQaProblem problem;
  problem.pid = "7";
  problem.choices = {"x", "y"};
  problem.answer = 1;
  problem.subject = "language science";
  problem.grade = "grade11";
  problem.topic = "verbs";
  data::ScienceQaProblem shown = problem;
  shown.image = "image.png";
  shown.hint = "Look.";
  shown.grade = "grade6";
  const ScienceQaScore score = score_scienceqa({{&problem, 1}, {&shown, std::nullopt}});
  const auto column = [&](const std::string& name) {
    for (const auto& c : score.columns)
      if (c.name == name) return std::pair(c.correct, c.count);
    return std::pair<int64_t, int64_t>(-1, -1);
  };
  EXPECT_EQ(column("LAN"), std::pair(int64_t{1}, int64_t{2}));
  EXPECT_EQ(column("NAT"), std::pair(int64_t{0}, int64_t{0}));
  EXPECT_EQ(column("TXT"), std::pair(int64_t{0}, int64_t{1}));
  EXPECT_EQ(column("IMG"), std::pair(int64_t{0}, int64_t{1}));
  EXPECT_EQ(column("NO"), std::pair(int64_t{1}, int64_t{1}));
  EXPECT_EQ(column("G1-6"), std::pair(int64_t{0}, int64_t{1}));
  EXPECT_EQ(column("G7-12"), std::pair(int64_t{1}, int64_t{1}));
  EXPECT_EQ(column("Avg"), std::pair(int64_t{1}, int64_t{2}));
  EXPECT_EQ(score.unparsed, 1);
  EXPECT_EQ(score.topics.at("verbs").correct, 1);
  EXPECT_EQ(score.grades.at("grade11").correct, 1);
  EXPECT_EQ(score.grades.at("grade6").correct, 0);
}

TEST(LoadPredictions, SaysWhatIsWrongWithAFile) {
  std::string folder = ::testing::TempDir() + "predXXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/p.json";
  const auto message = [&](const char* text) {
    std::ofstream(path) << text;
    return load_predictions(path).status().message();
  };
  EXPECT_NE(message("{").find("is not JSON"), std::string::npos);
  EXPECT_NE(message("[]").find("no mapping"), std::string::npos);
  EXPECT_NE(message(R"({"outputs": {"4": 1}})").find("question 4"), std::string::npos);
  EXPECT_EQ(message(R"({"outputs": {"4": "B"}})"), "");
  std::filesystem::remove_all(folder);
}

class PublishedPredictions : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("TEPHRA_REFERENCE_DIR");
    if (root == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the folder of reference fixtures";
    folder = std::string(root) + "/scienceqa/";
    std::ifstream file(folder + "predictions_llava_13b_v0.expected.json");
    expected = nlohmann::json::parse(file);
    auto outputs = load_predictions(folder + "predictions_llava_13b_v0.json");
    ASSERT_TRUE(outputs.ok()) << outputs.status().to_string();
    auto problems = data::load_scienceqa(folder + "problems.json", folder + "pid_splits.json", "test", "");
    ASSERT_TRUE(problems.ok()) << problems.status().to_string();
    result = score_predictions(*outputs, *problems, AnswerRule::kLlava);
  }
  std::string folder;
  nlohmann::json expected;
  PredictionScore result;
};

TEST_F(PublishedPredictions, MeetTheRecordedColumns) {
  const std::map<std::string, std::string> keys = {
      {"NAT", "acc_natural"},    {"SOC", "acc_social"},       {"LAN", "acc_language"},
      {"TXT", "acc_has_text"},   {"IMG", "acc_has_image"},    {"NO", "acc_no_context"},
      {"G1-6", "acc_grade_1_6"}, {"G7-12", "acc_grade_7_12"}, {"Avg", "acc_average"}};
  ASSERT_EQ(result.score.columns.size(), 9u);
  for (const auto& column : result.score.columns) {
    char text[16];
    std::snprintf(text, sizeof text, "%.2f", 100 * column.accuracy());
    EXPECT_EQ(text, expected["evaluate_acc"][keys.at(column.name)].get<std::string>()) << column.name;
  }
  const Column& all = result.score.columns.back();
  EXPECT_EQ(all.count, expected["counts"]["known"]);
  EXPECT_EQ(all.correct, expected["counts"]["correct"]);
  EXPECT_EQ(result.score.columns[4].count, expected["counts"]["with_image"]);
  EXPECT_EQ(result.score.columns[3].count, expected["counts"]["with_hint"]);
  EXPECT_EQ(result.score.unparsed, 0);
  for (const auto& [topic, count] : expected["counts"]["topic"].items()) {
    ASSERT_TRUE(result.score.topics.contains(topic)) << topic;
    EXPECT_EQ(result.score.topics.at(topic).count, count) << topic;
    char text[16];
    std::snprintf(text, sizeof text, "%.2f", 100 * result.score.topics.at(topic).accuracy());
    EXPECT_EQ(text, expected["evaluate_acc"]["acc_" + topic].get<std::string>()) << topic;
  }
}

TEST_F(PublishedPredictions, AreParsedAsRecordedForAllQuestions) {
  ASSERT_EQ(result.choices.size(), 4241u);
  ASSERT_EQ(expected["parsed"].size(), 4241u);
  for (const auto& [id, choice] : expected["parsed"].items()) {
    ASSERT_TRUE(result.choices.contains(id)) << id;
    EXPECT_EQ(result.choices.at(id).value_or(-1), choice.get<int>()) << id;
  }
}

}  // namespace
}  // namespace tephra::eval
