// A bench result's numbers follow from its cases, and its JSON reads back the same.
#include "eval/score/results.h"

#include <gtest/gtest.h>

namespace tephra::eval {
namespace {

BenchResult sample() {
  BenchResult result;
  result.bench = "science";
  result.kind = "scienceqa";
  result.pinned = {{"prompt", "CQM-A"}, {"rule", "llava"}};
  for (int i = 0; i < 10; ++i) {
    CaseRow row;
    row.id = std::to_string(i);
    row.question = "Which \"one\"?\n<image>";
    row.choices = {"x", "y", "z", "w"};
    row.reference = i < 4 ? "A" : "B";
    row.parsed = i == 9 ? "" : "B";
    row.answer = i == 9 ? "\xff no idea" : "B";
    row.correct = row.parsed == row.reference;
    row.category = i % 2 ? "odd" : "even";
    if (i < 8) row.image_path = "/p.png", row.correct_swapped = i == 4;
    row.scores["token_f1"] = 0.5;
    result.cases.push_back(row);
  }
  return result;
}

TEST(Summarize, CountsFromTheCases) {
  BenchResult result = sample();
  summarize(&result);
  EXPECT_EQ(result.counts["total"], 10);
  EXPECT_EQ(result.counts["correct"], 5);
  EXPECT_EQ(result.counts["unparsed"], 1);
  EXPECT_EQ(result.counts["images"], 8);
  EXPECT_EQ(result.counts["count_swapped"], 8);
  EXPECT_EQ(result.counts["correct_swapped"], 1);
  EXPECT_EQ(result.counts["correct_shown"], 4);
  EXPECT_DOUBLE_EQ(result.metrics["accuracy"], 0.5);
  EXPECT_DOUBLE_EQ(result.metrics["accuracy_swapped"], 0.125);
  EXPECT_DOUBLE_EQ(result.metrics["swap_p_value"], 0.25);  // 3 against 0
  EXPECT_DOUBLE_EQ(result.metrics["guess_level"], 0.25);
  EXPECT_DOUBLE_EQ(result.metrics["majority"], 0.6);
  EXPECT_DOUBLE_EQ(result.metrics["token_f1"], 0.5);
  ASSERT_EQ(result.columns.size(), 2u);
  EXPECT_EQ(result.columns[0].name, "even");
  EXPECT_EQ(result.columns[0].count, 5);
}

TEST(Summarize, GuessesTheMajorityWhereThereAreNoChoices) {
  BenchResult result = sample();
  for (auto& row : result.cases) row.choices.clear();
  summarize(&result);
  EXPECT_DOUBLE_EQ(result.metrics["guess_level"], 0.6);
}

TEST(Summarize, TakesTheCasesBaselinesInsteadOfTheReferences) {
  BenchResult result = sample();
  for (size_t i = 0; i < result.cases.size(); ++i) {
    result.cases[i].choices.clear();
    result.cases[i].baselines = {{"majority", i < 2}, {"blind", i < 7}};
  }
  summarize(&result);
  EXPECT_EQ(result.counts["majority_correct"], 2);
  EXPECT_DOUBLE_EQ(result.metrics["majority"], 0.2);
  EXPECT_DOUBLE_EQ(result.metrics["blind"], 0.7);
  EXPECT_DOUBLE_EQ(result.metrics["guess_level"], 0.2);
  EXPECT_DOUBLE_EQ(result.metrics["accuracy_swapped"], 0.125);  // another figure than blind
  const auto again = from_json(to_json(result));
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(again->cases[5].baselines, result.cases[5].baselines);
}

TEST(Summarize, OfNothingIsNothing) {
  BenchResult result;
  summarize(&result);
  EXPECT_EQ(result.counts["total"], 0);
  EXPECT_FALSE(result.metrics.contains("accuracy"));
}

TEST(BenchResultJson, ReadsBackTheSame) {
  BenchResult result = sample();
  summarize(&result);
  const std::string json = to_json(result);
  const auto again = from_json(json);
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(to_json(*again), json);
  EXPECT_EQ(again->cases[4].correct_swapped, std::optional<bool>(true));
  EXPECT_EQ(again->cases[9].correct_swapped, std::nullopt);
  EXPECT_EQ(again->cases[0].question, result.cases[0].question);
  EXPECT_EQ(again->cases[9].answer, "\xef\xbf\xbd no idea");  // invalid UTF-8 becomes U+FFFD
}

TEST(BenchResultJson, RefusesWhatIsNotOne) {
  EXPECT_EQ(from_json("{}").status().code(), Code::kCorruption);
  EXPECT_EQ(from_json("nonsense").status().code(), Code::kCorruption);
}

}  // namespace
}  // namespace tephra::eval
