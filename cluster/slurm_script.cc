#include "cluster/slurm_script.h"

namespace tephra::cluster {
namespace {

std::string stem(const std::string& log_dir, const std::string& job) { return log_dir + "/slurm." + job; }

std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace

std::string slurm_exit_path(const std::string& log_dir, int64_t job) {
  return stem(log_dir, std::to_string(job)) + ".exit";
}
std::string slurm_notice_path(const std::string& log_dir, int64_t job) {
  return stem(log_dir, std::to_string(job)) + ".notice";
}

// srun runs in the background, because bash handles a signal only between commands and while it waits. The exit code is
// put in place by a rename, after the last line of output: who sees it may read the log.
std::string slurm_script(const GangSpec& spec, const std::string& program, const std::string& log_dir,
                         const std::string& mpi) {
  std::string command = quoted(program);
  for (size_t i = 1; i < spec.command.size(); ++i) command += " " + quoted(spec.command[i]);
  const std::string n = std::to_string(spec.ranks), threads = std::to_string(spec.threads_per_rank);
  return "#!/bin/bash\n"
         "# One attempt's ranks, as one step of a Slurm job. Written by Tephra's slurm launcher.\n"
         "echo \"tephra: Slurm job $SLURM_JOB_ID on $SLURM_JOB_NODELIST\"\n"
         "files=" +
         quoted(log_dir) +
         "/slurm.$SLURM_JOB_ID\n"
         "# srun's labels become the tags that mpirun writes.\n"
         "tag() { exec sed -u \"s/^ *\\([0-9][0-9]*\\): /[1,\\1]<$1>:/\"; }\n"
         "exec 3> >(tag stdout); out=$!\n"
         "exec 4> >(tag stderr); err=$!\n"
         "srun --ntasks=" +
         n + " --cpus-per-task=" + threads + " --mpi=" + quoted(mpi) +
         " --kill-on-bad-exit=1 --label --input=none --export=ALL \\\n  " + command +
         " >&3 2>&4 3>&- 4>&- &\n"
         "ranks=$!\n"
         "exec 3>&- 4>&-\n"
         "trap 'told=1; echo \"Slurm takes the hosts back soon\" > \"$files.notice\"' USR1\n"
         "told=1\n"
         "while [ -n \"$told\" ]; do told=; wait $ranks; code=$?; done\n"
         "wait $out $err\n"
         "echo $code > \"$files.exit.part\" && mv \"$files.exit.part\" \"$files.exit\"\n"
         "exit $code\n";
}

}  // namespace tephra::cluster
