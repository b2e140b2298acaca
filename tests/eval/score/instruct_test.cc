// Text scores against values worked out by hand.
#include "eval/score/instruct.h"

#include <gtest/gtest.h>

namespace tephra::eval {
namespace {

TEST(NormalizeAnswer, DropsCasePunctuationAndArticles) {
  EXPECT_EQ(normalize_answer("  The Red, round  circle! "), "red round circle");
  EXPECT_EQ(normalize_answer("A theory isn't an answer"), "theory isnt answer");
  EXPECT_EQ(normalize_answer("Über-Größe"), "Übergröße");
  EXPECT_EQ(normalize_answer("the"), "");
}

TEST(ExactMatch, ComparesNormalisedTexts) {
  EXPECT_TRUE(exact_match("A red circle.", "red circle"));
  EXPECT_FALSE(exact_match("red circles", "red circle"));
}

TEST(TokenF1, CountsEachWordAsOftenAsItIsThere) {
  EXPECT_DOUBLE_EQ(token_f1("red red circle", "red circle"), 2 * (2.0 / 3) * 1 / (2.0 / 3 + 1));
  EXPECT_EQ(token_f1("blue", "red"), 0);
  EXPECT_EQ(token_f1("", ""), 1);
  EXPECT_EQ(token_f1("", "red"), 0);
}

TEST(RougeL, FollowsTheOrderOfWords) {
  EXPECT_DOUBLE_EQ(rouge_l("police killed gunman", "police kill gunman"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(rouge_l("gunman kill police", "police kill gunman"), 1.0 / 3);
  EXPECT_EQ(rouge_l("x", "x"), 1);
  EXPECT_EQ(rouge_l("", "x"), 0);
}

TEST(AggregateInstruct, AveragesByCategoryAndOverAll) {
  const auto means = aggregate_instruct({{"detail", {1, 1, 1}}, {"detail", {0, 0.5, 0.25}}, {"", {0, 0, 0}}});
  EXPECT_EQ(means.size(), 2u);
  EXPECT_DOUBLE_EQ(means.at("detail").mean.token_f1, 0.75);
  EXPECT_DOUBLE_EQ(means.at("all").mean.exact, 1.0 / 3);
  EXPECT_EQ(means.at("all").count, 3);
}

}  // namespace
}  // namespace tephra::eval
