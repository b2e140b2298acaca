// `tephra watch`: a job's events until it ends; live on a terminal (live_view.h), lines in a pipe, JSON lines.
#pragma once

#include <string>

#include "cli/server_files.h"

namespace tephra::cli {

int watch_job(const Server& server, const std::string& job, bool json);  // exit code
int job_exit_code(const std::string& phase);                             // kFailed: it failed or was cancelled

}  // namespace tephra::cli
