// How gangs are launched: options that run and serve share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"

namespace tephra::cli {

struct LauncherChoice {
  std::string kind = "local", hosts_file, network, remote_shell;
  std::vector<std::string> sbatch_arguments;
  int64_t slurm_notice_s = 120, slurm_pending_max_s = 0;
};

void add_launcher_options(CLI::App* verb, LauncherChoice* choice);
// Fills in launcher, launching. kInvalidArgument: options that do not go together, with what to do.
Status apply(const LauncherChoice& choice, coordinator::Options* options);

}  // namespace tephra::cli
