// Things that the coordinator's tests share: a small recipe, and a coordinator in a process of its own, to be killed.
#pragma once

#include <string>

#include "coordinator/coordinator.h"

namespace tephra::coordinator {

// Two stages, "lm" and "more", of `steps` steps with a checkpoint every two, one bench "quiz" of 24 questions after the
// second. Model folders are made below `dir`.
std::string make_recipe(const std::string& dir, int ranks, int steps, int max_restarts = 3);

Options make_options(const std::string& store_dir);  // this program as the worker, two slots

// victim STORE RECIPE_JSON_FILE: submits, prints "STEP NUMBER\n" for each committed checkpoint and "END PHASE\n".
int victim_main(int argc, char** argv);

std::string self_path();
// Whether process `pid` runs (a zombie does not).
bool is_running(int64_t pid);

}  // namespace tephra::coordinator
