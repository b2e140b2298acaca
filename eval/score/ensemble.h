// Two models' answers to ScienceQA made one, as the LLaVA paper does it with GPT-4 (Liu et al. 2023):
//   complement  the first's answer, and the second's where the first names no choice
//   judge       where both name the same choice, that; where they differ, the first is asked once more, shown both. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/scienceqa.h"
#include "eval/score/questions.h"
#include "eval/score/scienceqa.h"

namespace tephra::eval {

using Outputs = std::map<std::string, std::string>;  // by question id

// Of the problems that both files answer; kInvalidArgument when there is none.
Result<Outputs> complement(const Outputs& first, const Outputs& second,
                           const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule);

// The problems on which the two differ, or one names no choice, as questions for a judge (eval/score/judge.h): the first's answer
// is the reference, the second's goes with it in `answers`.
struct Disagreements {
  QuestionSet questions;
  Outputs answers;  // the second's
};
Disagreements disagreements(const Outputs& first, const Outputs& second,
                            const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule);

// Where they agree the first's answer, else the judge's reply by judgment key; no reply leaves the question unanswered.
Outputs judged_outputs(const Outputs& first, const Outputs& second, const std::vector<data::ScienceQaProblem>& problems,
                       AnswerRule rule, const std::map<std::string, std::string>& replies);

}  // namespace tephra::eval
