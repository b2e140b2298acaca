// VQA's normalisation on the cases its rules name, kinds of questions, and the two guessers.
#include "eval/score/vqa.h"

#include <gtest/gtest.h>

namespace tephra::eval {
namespace {

TEST(NormalizeVqa, FollowsTheRules) {
  const struct {
    const char *text, *normal;
  } cases[] = {
      {"Yes.", "yes"},
      {"  The  RED\tcircle\n", "red circle"},
      {"a an the", ""},
      {"theatre", "theatre"},
      {"Two", "2"},
      {"none", "0"},
      {"ten twenty", "10 twenty"},
      {"red, blue", "red blue"},                       // beside a blank: removed
      {"red,blue", "red blue"},                        // between letters: a blank
      {"red/blue - or not/so", "red blue or not so"},  // "-" stands beside a blank, "/" does not
      {"red/blue /or not/so", "redblue or notso"},     // once is enough
      {"1,000", "1000"},
      {"1,000 red/blue", "1000 redblue"},  // a comma between digits removes every mark
      {"3.5", "3.5"},
      {"v. 2.", "v 2"},
      {"don't", "don't"},
      {"3:15", "3:15"},
      {"\"circle\"", "circle"},
      {"(it) is red!", "it is red"},
      {"caf\xc3\x89", "caf\xc3\x89"},
      {"Dont", "don't"},
      {"somebody'd", "somebodyd"},  // as VQA's table has it
      {"", ""},
      {"?!.", ""},
  };
  for (const auto& c : cases) EXPECT_EQ(normalize_vqa(c.text), c.normal) << c.text;
}

TEST(NormalizeVqa, IsItsOwnFixedPoint) {
  for (const char* text : {"The RED, circle!", "1,000 a/b", "one or two.", "x . y"})
    EXPECT_EQ(normalize_vqa(normalize_vqa(text)), normalize_vqa(text)) << text;
}

TEST(NormalizeTextVqa, DropsCommasAndPartsTheGenitive) {
  EXPECT_EQ(normalize_textvqa("Joe's, the baker?"), "joe 's baker");
  EXPECT_EQ(normalize_textvqa("1,000"), "1000");
  EXPECT_EQ(normalize_textvqa("Stop!"), "stop");
}

TEST(VqaAccuracy, IsTheMeanOverWhatNinePeopleSay) {
  const auto people = [](int red) {
    std::vector<std::string> answers(10, "blue");
    for (int i = 0; i < red; ++i) answers[i] = "red";
    return answers;
  };
  EXPECT_EQ(vqa_accuracy("red", people(0)), 0);
  EXPECT_NEAR(vqa_accuracy("red", people(1)), 0.3, 1e-12);
  EXPECT_NEAR(vqa_accuracy("Red.", people(2)), 0.6, 1e-12);
  EXPECT_NEAR(vqa_accuracy("red", people(3)), 0.9, 1e-12);
  EXPECT_NEAR(vqa_accuracy("red", people(4)), 1, 1e-12);
  EXPECT_EQ(vqa_accuracy("Red.", people(10)), 0);  // all agree: vqaEval.py then compares as it stands
  EXPECT_EQ(textvqa_accuracy("Red.", people(10)), 1);
  EXPECT_EQ(vqa_accuracy("red", {}), 0);
}

TEST(VqaMatch, ComparesNormalisedAnswers) {
  EXPECT_TRUE(vqa_match("A rectangle.", "rectangle"));
  EXPECT_TRUE(vqa_match("Two", "2"));
  EXPECT_FALSE(vqa_match("not red", "red"));
  EXPECT_FALSE(vqa_match("", "red"));
}

TEST(VqaCategory, GoesByTheQuestionsWords) {
  EXPECT_EQ(vqa_category("is there a red shape?"), "yes/no");
  EXPECT_EQ(vqa_category("Does the image not contain a color?"), "yes/no");
  EXPECT_EQ(vqa_category("what color is the shape?"), "color");
  EXPECT_EQ(vqa_category("what is the color of the circle?"), "color");
  EXPECT_EQ(vqa_category("what is the blue shape?"), "shape");
  EXPECT_EQ(vqa_category("what shape?"), "shape");
  EXPECT_EQ(vqa_category("How many shapes are there?"), "number");
  EXPECT_EQ(vqa_category("where is it?"), "other");
  EXPECT_EQ(vqa_category(""), "other");
}

TEST(VqaBaselines, AnswerWhatTrainingSaidMostOften) {
  VqaBaselines baselines;
  EXPECT_EQ(baselines.majority(), "");
  EXPECT_EQ(baselines.blind("?"), "");
  for (const char* answer : {"no", "yes", "yes"}) baselines.learn("is it red?", answer);
  for (const char* answer : {"circle", "circle", "circle", "rectangle"}) baselines.learn("what is it?", answer);
  baselines.learn("even?", "no");
  baselines.learn("even?", "maybe");
  EXPECT_EQ(baselines.majority(), "circle");
  EXPECT_EQ(baselines.blind("is it red?"), "yes");
  EXPECT_EQ(baselines.blind("what is it?"), "circle");
  EXPECT_EQ(baselines.blind("even?"), "maybe");  // equally frequent: the first in the alphabet
  EXPECT_EQ(baselines.blind("never asked"), "circle");
}

}  // namespace
}  // namespace tephra::eval
