// Asks a judge about a bench's answers: a model at an OpenAI-compatible endpoint, or the local one. Replies are journaled as they come,
// with the bodies that they were read from, so that nothing is asked, or paid, twice.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/status.h"
#include "eval/score/questions.h"
#include "recipes/recipe.h"

namespace tephra::coordinator {

struct JudgeProgress {
  int64_t judged = 0, total = 0;  // replies
  int64_t earlier = 0;            // of `judged`, those that an earlier call had asked for
  double spent = 0;               // USD, by earlier runs too
};

struct Judgments {
  std::map<std::string, std::string> replies;  // by judgment key (eval/score/judge.h), as they came
  std::string incomplete;                      // why some are missing; empty: all are there
};

// Blocks; asks up to judge.concurrency at a time. An endpoint that cannot be reached, refuses or costs too much leaves the rest unasked,
// which is said in `incomplete`; a later call goes on. key: the endpoint's, empty for none. progress: may be empty; any thread.
// Errors are of the prompt file, or of the journal's folder.
Result<Judgments> judge_answers(const recipes::JudgeRecipe& judge, const eval::QuestionSet& set,
                                const std::map<std::string, std::string>& answers, const std::string& journal_dir,
                                const std::string& key, const std::function<void(const JudgeProgress&)>& progress);

// The endpoint's key, from the environment variable that the judge names; empty: none is named, or it is not set.
std::string judge_key(const recipes::JudgeRecipe& judge);

// What is pinned of a judge: who, with which prompts, in which orders.
Result<std::string> pinned_judge(const recipes::JudgeRecipe& judge);

}  // namespace tephra::coordinator
