#include "tests/cluster/two_hosts.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "cluster/child_process.h"
#include "cluster/process_tree.h"

namespace tephra::cluster {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

std::string run(const std::string& script) {
  const auto ended = run_captured({"sh", "-c", script}, {}, "", soon());
  if (!ended.ok()) return ended.status().message();
  return ended->code == 0 ? "" : ended->output + " (exit code " + std::to_string(ended->code) + ")";
}

void write_script(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

}  // namespace

std::unique_ptr<TwoHosts> TwoHosts::make(const std::string& directory, int slots, std::string* why_not) {
  auto hosts = std::unique_ptr<TwoHosts>(new TwoHosts);
  *why_not = hosts->set_up(directory, slots);
  return why_not->empty() ? std::move(hosts) : nullptr;
}

std::string TwoHosts::set_up(const std::string& directory, int slots) {
  if (geteuid() != 0) return "network namespaces need root";
  const std::string name = std::to_string(getpid());
  one_ = "tephra1-" + name, two_ = "tephra2-" + name;
  const std::string failed = run(
      "ip netns add " + one_ + " && ip netns add " + two_ + " && ip link add v1 netns " + one_ +
      " type veth peer name v2 netns " + two_ + " && ip -n " + one_ + " addr add 10.77.0.1/24 dev v1 && ip -n " + two_ +
      " addr add 10.77.0.2/24 dev v2 && for n in " + one_ + " " + two_ +
      "; do ip -n $n link set lo up; done && ip -n " + one_ + " link set v1 up && ip -n " + two_ + " link set v2 up");
  if (!failed.empty()) return "no network namespaces: " + failed;
  // The second host lives as long as its first process does, and that no longer than this one.
  FILE* null = fopen("/dev/null", "w");
  const auto first =
      spawn_session(find_program("ip"),
                    {"ip", "netns", "exec", two_, "unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child",
                     "sh", "-c", "hostname host2; echo up > " + directory + "/up; exec sleep 1200"},
                    merged_environment({}), fileno(null), "");
  fclose(null);
  if (!first.ok()) return first.status().message();
  host2_ = *first;
  for (const Deadline deadline = soon(); !std::filesystem::exists(directory + "/up");) {
    if (deadline.passed()) return "the second host does not come up";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (const ProcessInfo& process : find_processes("no-such-marker", host2_))
    if (process.pid != host2_) init2_ = process.pid;
  if (init2_ == 0) return "the second host has no process";
  // mpirun calls the agent with the host and the words of a command for its shell, as it would ssh.
  write_script(directory + "/shell", "#!/bin/sh\nh=$1; shift\ncase $h in\n10.77.0.1) exec ip netns exec " + one_ +
                                         " sh -c \"$*\";;\n10.77.0.2) exec nsenter -t " + std::to_string(init2_) +
                                         " -n -u -p -m sh -c \"$*\";;\nesac\necho unknown host $h; exit 255\n");
  write_script(directory + "/mpirun", "#!/bin/sh\nexec ip netns exec " + one_ +
                                          " unshare --uts sh -c 'hostname host1; exec mpirun \"$@\"' sh \"$@\"\n");
  std::ofstream(directory + "/hosts") << "10.77.0.1 slots=" << slots << "\n10.77.0.2 slots=" << slots << "\n";
  return "";
}

LauncherOptions TwoHosts::options(const std::string& directory) {
  LauncherOptions options;
  options.mpirun = directory + "/mpirun";
  options.hosts_file = directory + "/hosts";
  options.remote_shell = {directory + "/shell"};
  options.network = "10.77.0.0/24";
  return options;
}

std::vector<std::string> TwoHosts::on_first() const {
  return {
      find_program("ip"), "netns", "exec", one_, "unshare", "--uts", "sh", "-c", "hostname host1; exec \"$@\"", "sh"};
}

void TwoHosts::end_second() {
  if (init2_ > 0) kill(static_cast<pid_t>(init2_), SIGKILL);  // the kernel ends all that ran there
  if (host2_ > 0) waitpid(host2_, nullptr, 0);
  init2_ = host2_ = 0;
}

TwoHosts::~TwoHosts() {
  end_second();
  for (const std::string& name : {one_, two_})
    if (!name.empty()) (void)run("ip netns del " + name);
}

}  // namespace tephra::cluster
