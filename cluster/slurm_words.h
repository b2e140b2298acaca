// What Slurm 22.05 and later say of a job, read and put into words for people. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "cluster/launcher.h"

namespace tephra::cluster {

struct SlurmJob {
  int64_t id = 0;
  std::string state;         // "PENDING", "RUNNING", "COMPLETING", "TIMEOUT", ...
  std::string reason = {};   // why it is in that state, a word of Slurm's: "Resources", "None"
  std::string comment = {};  // sbatch's --comment
  std::string partition = {};
  int exit_code = 0;  // of the batch script, once ended
  int exit_signal = 0;

  bool waits() const;  // in the queue, or its hosts are being started
  bool ended() const;  // no process of it is left
};

// A line of `scontrol -o show job`. kCorruption: it is none.
Result<SlurmJob> parse_slurm_job(const std::string& line);

// "Slurm job 17 waits: its hosts are busy (Resources)", with what to do where something can be done.
std::string describe_waiting(const SlurmJob& job);

// The end of a job. `code`: srun's exit code as the batch script wrote it down, -1 when it could not; `tail`: the end of
// the log, where srun says which rank ended first and how.
ExitInfo describe_slurm_exit(const SlurmJob& job, int code, const std::string& tail, const std::string& log_path);

// Why sbatch refused, from what it printed, and what to do. `partitions`: those of this cluster, for the words.
Status describe_refusal(const std::string& output, const std::string& partitions);

// The CPUs of the cluster, from the lines of `sinfo --format=%C` (allocated/idle/other/total); 0: not understood.
int parse_cpus(const std::string& output);

// Whether a command of Slurm's failed because its controller does not answer.
bool controller_is_silent(const std::string& output);

}  // namespace tephra::cluster
