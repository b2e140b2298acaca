// Options of verbs that ask a judge.
#pragma once

#include "recipes/recipe.h"

namespace CLI {
class App;
}

namespace tephra::cli {

// --judge and the options that begin with --judge-. `judge` outlives the verb.
void add_judge_options(CLI::App& verb, recipes::JudgeRecipe& judge);

}  // namespace tephra::cli
