// What the metrics of single kinds count and leave out.
#include "eval/score/bench_metrics.h"

#include <gtest/gtest.h>

#include <limits>

#include "eval/score/bench_files.h"

namespace tephra::eval {
namespace {

TEST(LossAnswer, ReadsBackToTheBit) {
  for (const LossAnswer& loss : {LossAnswer{2.0 / 3, 17}, LossAnswer{0, 0}, LossAnswer{1e-300, int64_t{1} << 40}}) {
    const auto read = parse_loss_answer(loss_answer(loss));
    ASSERT_TRUE(read) << loss_answer(loss);
    EXPECT_EQ(read->loss, loss.loss);
    EXPECT_EQ(read->tokens, loss.tokens);
  }
}

TEST(LossAnswer, OtherTextsAreNone) {
  for (const char* text : {"", "loss", "loss 1", "loss 1 tokens", "loss 1 tokens -2", "loss nan tokens 2",
                           "loss inf tokens 2", "loss 1 tokens 2 more", "A cat."})
    EXPECT_FALSE(parse_loss_answer(text)) << text;
}

TEST(AddBenchMetrics, PopeCountsTheAnsweredAndThoseThatSayNeither) {
  BenchResult result;
  result.kind = "pope";
  const auto add = [&](const char* reference, const char* parsed, const char* answer) {
    CaseRow row;
    row.reference = reference, row.parsed = parsed, row.answer = answer;
    result.cases.push_back(row);
  };
  add("yes", "yes", "Yes, there is.");
  add("no", "yes", "A purple one.");  // POPE's rule takes it for yes
  add("yes", "no", "It is not there.");
  add("no", "", "");  // not answered
  add_bench_metrics(&result);
  EXPECT_EQ(result.counts.at("neither"), 1);
  EXPECT_DOUBLE_EQ(result.metrics.at("precision"), 0.5);
  EXPECT_DOUBLE_EQ(result.metrics.at("recall"), 0.5);
  EXPECT_DOUBLE_EQ(result.metrics.at("f1"), 0.5);
  EXPECT_DOUBLE_EQ(result.metrics.at("yes_ratio"), 2.0 / 3);
}

TEST(AddBenchMetrics, LossOfNothingHasNoNumber) {
  BenchResult result;
  result.kind = "loss";
  result.cases.resize(2);
  add_bench_metrics(&result);
  EXPECT_EQ(result.counts.at("tokens"), 0);
  EXPECT_FALSE(result.metrics.contains("loss"));
  EXPECT_FALSE(result.metrics.contains("perplexity"));
}

TEST(RuleOf, EveryPublishedBenchPinsOne) {
  for (const std::string& kind : file_bench_kinds()) EXPECT_NE(rule_of(kind), "") << kind;
}

}  // namespace
}  // namespace tephra::eval
