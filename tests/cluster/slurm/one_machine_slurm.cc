#include "tests/cluster/slurm/one_machine_slurm.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "cluster/child_process.h"

namespace tephra::cluster {
namespace {
namespace fs = std::filesystem;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

// Bound at the same time, so that they differ.
std::vector<int> free_ports(int count) {
  std::vector<int> sockets, ports;
  for (int i = 0; i < count; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    if (bind(fd, reinterpret_cast<sockaddr*>(&at), size) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0)
      ports.push_back(ntohs(at.sin_port));
    sockets.push_back(fd);
  }
  for (const int fd : sockets) close(fd);
  return ports;
}

std::string configuration(const std::string& directory, const std::string& host, int cpus,
                          const std::vector<int>& ports) {
  const auto in = [&](const char* name) { return directory + "/" + name; };
  std::string text;
  const auto set = [&](const char* key, const std::string& value) { text += std::string(key) + "=" + value + "\n"; };
  set("ClusterName", "tephra");
  set("SlurmctldHost", host + "(127.0.0.1)");
  set("SlurmUser", "root");
  set("SlurmdUser", "root");
  set("AuthType", "auth/munge");
  set("AuthInfo", "socket=" + in("munge.socket"));
  set("CredType", "cred/munge");
  set("SlurmctldPort", std::to_string(ports[0]));
  set("SlurmdPort", std::to_string(ports[1]));
  set("StateSaveLocation", in("state"));
  set("SlurmdSpoolDir", in("spool"));
  set("SlurmctldPidFile", in("slurmctld.pid"));
  set("SlurmdPidFile", in("slurmd.pid"));
  set("SlurmctldLogFile", in("slurmctld.log"));
  set("SlurmdLogFile", in("slurmd.log"));
  set("TmpFS", in("tmp"));
  set("ProctrackType", "proctrack/linuxproc");
  set("TaskPlugin", "task/none");
  set("JobAcctGatherType", "jobacct_gather/none");
  set("AccountingStorageType", "accounting_storage/none");
  set("SelectType", "select/cons_tres");
  set("SelectTypeParameters", "CR_Core");
  set("SchedulerType", "sched/backfill");
  set("SchedulerParameters", "batch_sched_delay=0,sched_interval=1,bf_interval=1");
  set("PreemptType", "preempt/partition_prio");
  set("PreemptMode", "REQUEUE");
  set("SlurmctldParameters", "preempt_send_user_signal");
  set("SlurmdParameters", "config_overrides");  // more CPUs than the machine has are fine
  set("ReturnToService", "2");
  set("KillWait", "2");
  text += "NodeName=" + host + " NodeAddr=127.0.0.1 CPUs=" + std::to_string(cpus) + " RealMemory=1000 State=UNKNOWN\n";
  text += "PartitionName=main Nodes=" + host + " Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5\n";
  text += "PartitionName=urgent Nodes=" + host + " MaxTime=INFINITE State=UP PriorityTier=10\n";
  text += "PartitionName=closed Nodes=" + host + " MaxTime=INFINITE State=DOWN\n";
  return text;
}

}  // namespace

std::unique_ptr<OneMachineSlurm> OneMachineSlurm::start(const std::string& directory, int cpus, std::string* why_not) {
  auto slurm = std::unique_ptr<OneMachineSlurm>(new OneMachineSlurm);
  *why_not = slurm->set_up(directory, cpus);
  return why_not->empty() ? std::move(slurm) : nullptr;
}

std::string OneMachineSlurm::spawn(const std::vector<std::string>& command, const std::string& directory) {
  // The daemons end with this process, however it ends.
  std::vector<std::string> words = {"setpriv", "--pdeathsig", "TERM"};
  words.insert(words.end(), command.begin(), command.end());
  const std::string output = directory + "/daemons.log";
  const int log = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const auto pid = spawn_session(find_program(words[0]), words, merged_environment({}), log, "");
  close(log);
  if (!pid.ok()) return pid.status().message();
  daemons_.push_back(*pid);
  return "";
}

std::string OneMachineSlurm::set_up(const std::string& directory, int cpus) {
  if (geteuid() != 0) return "Slurm's daemons are started as root here";
  for (const char* name : {"munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "setpriv"})
    if (find_program(name).empty())
      return std::string(name) + " is not installed (Debian: apt-get install slurm-wlm munge)";
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  const std::string host = std::string(name).substr(0, std::string(name).find('.'));
  for (const char* folder : {"state", "spool", "tmp"}) fs::create_directories(directory + "/" + folder);
  fs::permissions(directory, static_cast<fs::perms>(0755));  // munge's clients reach its socket
  {
    std::random_device random;
    std::ofstream key(directory + "/munge.key");
    for (int i = 0; i < 1024; ++i) key << static_cast<char>(random());
  }
  fs::permissions(directory + "/munge.key", static_cast<fs::perms>(0400));
  const std::vector<int> ports = free_ports(2);
  if (ports.size() != 2) return "no free ports";
  std::ofstream(directory + "/slurm.conf") << configuration(directory, host, cpus, ports);
  setenv("SLURM_CONF", (directory + "/slurm.conf").c_str(), 1);

  const auto in = [&](const char* file) { return directory + "/" + file; };
  std::string failed =
      spawn({"munged", "--foreground", "--force", "--key-file=" + in("munge.key"), "--socket=" + in("munge.socket"),
             "--pid-file=" + in("munged.pid"), "--log-file=" + in("munged.log"), "--seed-file=" + in("munged.seed")},
            directory);
  const Deadline deadline = soon();
  while (failed.empty() && !fs::exists(in("munge.socket"))) {
    if (deadline.passed()) failed = "munged does not start";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (failed.empty()) failed = spawn({"slurmctld", "-D", "-f", in("slurm.conf")}, directory);
  if (failed.empty()) failed = spawn({"slurmd", "-D", "-f", in("slurm.conf")}, directory);
  while (failed.empty()) {
    const auto seen = run_captured({"sinfo", "--noheader", "--partition=main", "--format=%T"}, {}, "", soon());
    if (seen.ok() && seen->code == 0 && seen->output == "idle\n") break;
    if (deadline.passed()) failed = "Slurm does not start: " + (seen.ok() ? seen->output : seen.status().message());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return failed;
}

OneMachineSlurm::~OneMachineSlurm() {
  // The last started first: slurmd tells the controller of its end.
  for (auto daemon = daemons_.rbegin(); daemon != daemons_.rend(); ++daemon) {
    kill(*daemon, SIGTERM);
    for (int i = 0; waitpid(*daemon, nullptr, WNOHANG) == 0; ++i) {
      if (i == 1000) kill(*daemon, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  unsetenv("SLURM_CONF");
}

}  // namespace tephra::cluster
