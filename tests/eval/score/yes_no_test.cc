// POPE's and MME's readings of an answer on the cases that their scripts treat specially, and their sums by hand.
#include "eval/score/yes_no.h"

#include <gtest/gtest.h>

namespace tephra::eval {
namespace {

TEST(PopeAnswer, ReadsTheFirstSentenceForNoOrNot) {
  EXPECT_EQ(pope_answer("Yes, there is a dog."), "yes");
  EXPECT_EQ(pope_answer("No, there is none"), "no");
  EXPECT_EQ(pope_answer("no"), "no");
  EXPECT_EQ(pope_answer("There is not a dog"), "no");
  EXPECT_EQ(pope_answer("Yes. There is no cat."), "yes");  // the second sentence is not read
  EXPECT_EQ(pope_answer("NO"), "yes");                     // only No, no and not
  EXPECT_EQ(pope_answer("nothing"), "yes");
  EXPECT_EQ(pope_answer("well,no"), "yes");  // commas go, and no blank takes their place
  EXPECT_EQ(pope_answer("not"), "no");
  EXPECT_EQ(pope_answer(""), "yes");
}

TEST(MmeAnswer, LooksAtFourLetters) {
  EXPECT_EQ(mme_answer("Yes"), "yes");
  EXPECT_EQ(mme_answer("YES, it is"), "yes");
  EXPECT_EQ(mme_answer("No."), "no");
  EXPECT_EQ(mme_answer("Not"), "no");
  EXPECT_EQ(mme_answer(" yes"), "yes");
  EXPECT_EQ(mme_answer("The answer is no"), "other");
  EXPECT_EQ(mme_answer("I know"), "other");
  EXPECT_EQ(mme_answer(""), "other");
}

TEST(ScoreYesNo, CountsYesAsPositive) {
  const YesNoScore s = score_yes_no({{true, true}, {true, true}, {true, false}, {false, true}, {false, false}});
  EXPECT_EQ(s.true_positive, 2);
  EXPECT_EQ(s.false_negative, 1);
  EXPECT_EQ(s.false_positive, 1);
  EXPECT_EQ(s.true_negative, 1);
  EXPECT_DOUBLE_EQ(s.accuracy, 0.6);
  EXPECT_DOUBLE_EQ(s.precision, 2.0 / 3);
  EXPECT_DOUBLE_EQ(s.recall, 2.0 / 3);
  EXPECT_DOUBLE_EQ(s.f1, 2.0 / 3);
  EXPECT_DOUBLE_EQ(s.yes_ratio, 0.6);
  EXPECT_DOUBLE_EQ(score_yes_no({{false, false}}).f1, 0);  // nothing to divide by
  EXPECT_DOUBLE_EQ(score_yes_no({}).accuracy, 0);
}

TEST(ScoreMme, AddsAccuracyByQuestionAndByPicture) {
  const MmeScore s = score_mme({{"existence", "a", true},
                                {"existence", "a", true},
                                {"existence", "b", true},
                                {"existence", "b", false},
                                {"code_reasoning", "a", true},
                                {"code_reasoning", "a", true}});
  EXPECT_DOUBLE_EQ(s.tasks.at("existence").score(), 75 + 50);
  EXPECT_DOUBLE_EQ(s.perception, 125);
  EXPECT_DOUBLE_EQ(s.cognition, 200);
  EXPECT_EQ(mme_group("OCR"), "perception");
  EXPECT_EQ(mme_group("ocr"), "");
}

}  // namespace
}  // namespace tephra::eval
