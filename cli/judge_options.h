// Options of verbs that ask a judge.
#pragma once

#include <string>

#include "recipes/recipe.h"

namespace CLI {
class App;
}

namespace tephra::cli {

// --judge, --judge-model, --judge-prompts, --judge-key-env, --judge-concurrency, --judge-limit-usd and prices. `judge` outlives the verb.
void add_judge_options(CLI::App& verb, recipes::JudgeRecipe& judge);

// The key that the judge's environment variable holds; empty: none.
std::string judge_key(const recipes::JudgeRecipe& judge);

}  // namespace tephra::cli
