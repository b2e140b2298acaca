// The batch script of a gang under Slurm. Pure functions.
#pragma once

#include <string>

#include "cluster/launcher.h"

namespace tephra::cluster {

// Files beside the gang's log; `job` is Slurm's number.
std::string slurm_exit_path(const std::string& log_dir, int64_t job);    // srun's exit code, once all output is written
std::string slurm_notice_path(const std::string& log_dir, int64_t job);  // there: the hosts will be taken back

// `program`: absolute path of spec.command[0]. Holds no value of spec.environment.
std::string slurm_script(const GangSpec& spec, const std::string& program, const std::string& log_dir,
                         const std::string& mpi);

}  // namespace tephra::cluster
