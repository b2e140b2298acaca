// Jobs from a recipe, in the foreground or given to a coordinator: what run, submit and fork share.
#pragma once

#include <string>
#include <vector>

#include "cli/launcher_options.h"
#include "cli/server_files.h"

namespace tephra::cli {

struct RunOptions {
  std::string recipe, store = "tephra-store";
  std::vector<std::string> overrides;
  int ranks = 0;  // 0: the recipe's
  bool json = false;
  LauncherChoice launcher{};  // run_recipe() only
};

// The whole job with a coordinator of its own; an unfinished one of the same recipe goes on. Exit code.
int run_recipe(const RunOptions& options);
// Gives it to the coordinator and prints the job's id. Exit code.
int submit_recipe(const Server& server, const RunOptions& options);

}  // namespace tephra::cli
