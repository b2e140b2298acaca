// Which number a gate's name stands for, and how wide `ci` is.
#include "eval/score/gate_metric.h"

#include <gtest/gtest.h>

namespace tephra::eval {
namespace {

BenchResult result_with(const std::string& kind, int right, int of) {
  BenchResult result;
  result.bench = "b";
  result.kind = kind;
  for (int i = 0; i < of; ++i) {
    CaseRow row;
    row.id = std::to_string(i);
    row.correct = i < right;
    row.scores["answer_score"] = i < right ? 10 : 5;
    result.cases.push_back(row);
  }
  return result;
}

TEST(GateMetric, IsAMetricOrAColumnInLowerCase) {
  BenchResult result;
  result.metrics = {{"accuracy", 0.5}};
  result.columns = {{"Avg", 3, 4, {}}, {"G1-6", 1, 2, {}}, {"NO", 0, 0, {}}};
  EXPECT_EQ(gate_metric(result, "accuracy"), 0.5);
  EXPECT_EQ(gate_metric(result, "avg"), 0.75);
  EXPECT_EQ(gate_metric(result, "g1-6"), 0.5);
  EXPECT_EQ(gate_metric(result, "no"), std::nullopt) << "a column without questions has no number";
  EXPECT_EQ(gate_metric(result, "Avg"), std::nullopt);
  EXPECT_EQ(gate_metric(result, "f1"), std::nullopt);
}

TEST(HalfInterval, IsOfTheDifferenceOnTheSameQuestions) {
  const BenchResult before = result_with("scienceqa", 40, 100), after = result_with("scienceqa", 60, 100);
  EXPECT_EQ(half_interval(before, before, "accuracy"), 0) << "the same answers differ by nothing";
  // Twenty of a hundred turned right: a standard error of sqrt(0.2 * 0.8 / 100).
  EXPECT_NEAR(half_interval(before, after, "accuracy"), 1.96 * 0.04, 0.01);
}

TEST(HalfInterval, OfAJudgesScoresIsInShares) {
  const BenchResult before = result_with("llava_bench", 40, 100), after = result_with("llava_bench", 60, 100);
  // Scores of ten moved by five on a fifth of the questions.
  EXPECT_NEAR(half_interval(before, after, "answer_score"), 1.96 * 0.04 * 5 / 10, 0.005);
}

}  // namespace
}  // namespace tephra::eval
