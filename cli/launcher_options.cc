#include "cli/launcher_options.h"

#include <filesystem>
#include <sstream>

#include "cluster/hosts.h"

namespace tephra::cli {

void add_launcher_options(CLI::App* verb, LauncherChoice* choice) {
  verb->add_option(
          "--launcher", choice->kind,
          "what starts the ranks: mpirun on this machine (local) or over a host file (hosts), or Slurm's sbatch")
      ->check(CLI::IsMember({"local", "hosts", "slurm"}))
      ->capture_default_str();
  verb->add_option(
      "--hosts-file", choice->hosts_file,
      "of hosts: a name or address a line, slots=N; all have the store and the programs at the same paths");
  verb->add_option(
      "--network", choice->network,
      "of hosts and slurm: the interface (eth0) or block of addresses (10.0.0.0/16) between the hosts; ranks "
      "connect to this machine's address on it");
  verb->add_option("--remote-shell", choice->remote_shell,
                   "of hosts: called as SHELL HOST COMMAND (default: ssh without questions)");
  verb->add_option("--sbatch-argument", choice->sbatch_arguments,
                   "of slurm: an argument of sbatch, --sbatch-argument=--partition=gpu; may be repeated")
      ->take_all();
  verb->add_option(
          "--slurm-notice", choice->slurm_notice_s,
          "of slurm: seconds before a job's time limit at which it writes a checkpoint and goes back to the queue")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  verb->add_option("--slurm-pending-max", choice->slurm_pending_max_s,
                   "of slurm: seconds that a job may wait in Slurm's queue before its attempt is given up; 0: for ever")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

Status apply(const LauncherChoice& choice, coordinator::Options* options) {
  const auto wrong = [](const std::string& words) { return Status(Code::kInvalidArgument, words); };
  const bool hosts = choice.kind == "hosts", slurm = choice.kind == "slurm";
  if (hosts != !choice.hosts_file.empty())
    return wrong(hosts ? "--launcher hosts needs --hosts-file, the hosts and their slots"
                       : "--hosts-file is of --launcher hosts; give both");
  if (!choice.remote_shell.empty() && !hosts) return wrong("--remote-shell is of --launcher hosts; give both");
  if (!choice.sbatch_arguments.empty() && !slurm) return wrong("--sbatch-argument is of --launcher slurm; give both");
  if ((hosts || slurm) && choice.network.empty()) {
    const Status none = cluster::address_on("").status();
    return wrong("--launcher " + choice.kind +
                 " needs --network, on which ranks of other hosts reach this one: " + none.message());
  }
  if (!hosts && !slurm && !choice.network.empty()) return wrong("--network is of --launcher hosts or slurm; give both");
  options->launcher = choice.kind;
  cluster::LauncherOptions& launching = options->launching;
  if (hosts) launching.hosts_file = std::filesystem::absolute(choice.hosts_file).string();
  launching.network = choice.network;
  launching.withheld = {"TEPHRA_TOKEN"};
  if (!choice.remote_shell.empty()) {
    launching.remote_shell.clear();
    std::istringstream words(choice.remote_shell);
    for (std::string word; words >> word;) launching.remote_shell.push_back(word);
  }
  launching.slurm.sbatch_arguments = choice.sbatch_arguments;
  launching.slurm.notice = std::chrono::seconds(choice.slurm_notice_s);
  launching.slurm.pending_max = std::chrono::seconds(choice.slurm_pending_max_s);
  return ok_status();
}

}  // namespace tephra::cli
