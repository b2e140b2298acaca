// The verbs of `tephra eval` that ask a judge, and --resume of a job's benches that a judge left incomplete.
#pragma once

#include <functional>

#include "cli/app.h"
#include "cli/eval_bench.h"
#include "coordinator/judging.h"
#include "recipes/recipe.h"

namespace tephra::cli {

struct JudgedBench {
  std::string predictions;
  eval::BenchFiles files;
  recipes::JudgeRecipe judge;
  EvalOutput output;
};
// What is wrong with how a judge is named, before anything is asked; `out`: the folder that keeps its replies.
Status check_judge(const recipes::JudgeRecipe& judge, const std::string& out);

// LLaVA-Bench from answers: asks the judge, keeps its replies in OUT/judge, scores. Called again it asks only for what is missing.
int eval_llava_bench(const JudgedBench& o);

// A line of progress on stderr of one call that asks a judge; it ends with what is returned.
std::function<void(const coordinator::JudgeProgress&)> show_judging();

// scienceqa-ensemble: two prediction files made one.
void add_ensemble(CLI::App& group, Verbs& verbs);

// Asks for the judgments that a finished job's benches lack, scores these again and writes the job's report anew.
int resume_job_benches(const std::string& job, const std::string& store, bool json);

}  // namespace tephra::cli
