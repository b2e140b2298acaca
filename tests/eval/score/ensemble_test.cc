// The paper's two ways to join answers, on a handful of questions.
#include "eval/score/ensemble.h"

#include <gtest/gtest.h>

#include "eval/score/judge.h"

namespace tephra::eval {
namespace {

std::vector<data::ScienceQaProblem> problems() {
  std::vector<data::ScienceQaProblem> out;
  for (const char* pid : {"1", "2", "3", "4"}) {
    data::ScienceQaProblem p;
    p.pid = pid;
    p.question = "Which?";
    p.choices = {"x", "y"};
    out.push_back(p);
  }
  return out;
}

const Outputs kFirst = {{"1", "The answer is A."},
                        {"2", "I cannot tell."},
                        {"3", "The answer is B."},
                        {"4", "The answer is B."},
                        {"9", "The answer is A."}};
const Outputs kSecond = {{"1", "The answer is A."}, {"2", "The answer is B."}, {"3", "The answer is A."}};

TEST(Ensemble, ComplementTakesTheSecondWhereTheFirstNamesNothing) {
  const auto out = complement(kFirst, kSecond, problems(), AnswerRule::kLlava);
  ASSERT_TRUE(out.ok());
  EXPECT_EQ(*out, (Outputs{{"1", "The answer is A."}, {"2", "The answer is B."}, {"3", "The answer is B."}}));
  EXPECT_EQ(complement({}, kSecond, problems(), AnswerRule::kLlava).status().code(), Code::kInvalidArgument);
}

TEST(Ensemble, JudgeIsAskedWhereTheyDiffer) {
  const Disagreements d = disagreements(kFirst, kSecond, problems(), AnswerRule::kLlava);
  ASSERT_EQ(d.questions.questions.size(), 2u);
  EXPECT_EQ(d.questions.questions[0].id, "2");
  EXPECT_EQ(d.questions.questions[1].reference, "The answer is B.");
  EXPECT_EQ(d.answers.at("3"), "The answer is A.");
  const auto prompts = load_judge_prompts(TEPHRA_SOURCE_DIR "/recipes/judge/scienceqa.json");
  ASSERT_TRUE(prompts.ok()) << prompts.status().to_string();
  const auto requests = judge_requests(*prompts, d.questions, d.answers, false);
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_NE(requests[1].prompt.find("(A) x (B) y"), std::string::npos);
  const Outputs out =
      judged_outputs(kFirst, kSecond, problems(), AnswerRule::kLlava, {{"3#second", "The answer is A."}});
  EXPECT_EQ(out,
            (Outputs{{"1", "The answer is A."}, {"3", "The answer is A."}}));  // 2 was not judged, and is not guessed
}

}  // namespace
}  // namespace tephra::eval
