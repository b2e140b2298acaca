// Two hosts of one machine: network namespaces joined by a pair of virtual interfaces, each with a host name and, the
// second, with processes of its own (a PID namespace), so that what runs there is reached through the remote shell only.
// Needs root and ip(8); says that it is skipped where it has not got them.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cluster/child_process.h"
#include "cluster/launcher.h"
#include "cluster/process_tree.h"

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline soon() { return Deadline::after(seconds(60)); }

class HostsLauncher : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/tephra_hosts_XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
    const std::string one = "tephra1-" + std::to_string(getpid()), two = "tephra2-" + std::to_string(getpid());
    namespaces_ = {one, two};
    // The second host lives as long as its first process does.
    const std::string up =
        "ip netns add " + one + " && ip netns add " + two + " && ip link add v1 netns " + one +
        " type veth peer name v2 netns " + two + " && ip -n " + one + " addr add 10.77.0.1/24 dev v1 && ip -n " + two +
        " addr add 10.77.0.2/24 dev v2 && for n in " + one + " " + two +
        "; do ip -n $n link set lo up; done && ip -n " + one + " link set v1 up && ip -n " + two + " link set v2 up";
    if (geteuid() != 0 || !run({"sh", "-c", up})) GTEST_SKIP() << "needs root and network namespaces: " << said_;
    const auto null = fopen("/dev/null", "w");
    const auto first =
        spawn_session(find_program("ip"),
                      {"ip", "netns", "exec", two, "unshare", "--uts", "--pid", "--fork", "--mount-proc",
                       "--kill-child", "sh", "-c", "hostname host2; echo up > " + directory_ + "/up; exec sleep 600"},
                      merged_environment({}), fileno(null), "");
    fclose(null);
    ASSERT_TRUE(first.ok()) << first.status().to_string();
    host2_ = *first;
    await([&] { return std::filesystem::exists(directory_ + "/up"); });
    for (const ProcessInfo& process : find_processes("no-such-marker", host2_))
      if (process.pid != host2_) init2_ = process.pid;
    ASSERT_GT(init2_, 0);
    // mpirun calls the agent with the host and the words of a command for its shell, as it would ssh.
    std::ofstream(directory_ + "/shell") << "#!/bin/sh\nh=$1; shift\ncase $h in\n10.77.0.1) exec ip netns exec " << one
                                         << " sh -c \"$*\";;\n10.77.0.2) exec nsenter -t " << init2_
                                         << " -n -u -p -m sh -c \"$*\";;\nesac\necho unknown host $h; exit 255\n";
    std::ofstream(directory_ + "/mpirun") << "#!/bin/sh\nexec ip netns exec " << one
                                          << " unshare --uts sh -c 'hostname host1; exec mpirun \"$@\"' sh \"$@\"\n";
    for (const char* name : {"shell", "mpirun"})
      std::filesystem::permissions(directory_ + "/" + name, std::filesystem::perms::owner_all);
    std::ofstream(directory_ + "/hosts") << "10.77.0.1 slots=1\n10.77.0.2 slots=1\n";
    options_.mpirun = directory_ + "/mpirun";
    options_.hosts_file = directory_ + "/hosts";
    options_.remote_shell = {directory_ + "/shell"};
    options_.network = "10.77.0.0/24";
  }

  void TearDown() override {
    for (const GangIdentity& gang : launched_) {
      const auto left = find_processes("TEPHRA_GANG=" + gang.marker, 0);
      EXPECT_TRUE(left.empty()) << left.size() << " processes left, first " << left[0].pid << " " << left[0].name;
    }
    end_host2();
    for (const std::string& name : namespaces_) run({"ip", "netns", "del", name});
    std::filesystem::remove_all(directory_);
  }

  void end_host2() {
    if (init2_ > 0) kill(static_cast<pid_t>(init2_), SIGKILL);  // the kernel ends all that ran there
    if (host2_ > 0) waitpid(host2_, nullptr, 0);
    init2_ = host2_ = 0;
  }

  bool run(const std::vector<std::string>& words) {
    const auto ended = run_captured(words, {}, "", soon());
    said_ = ended.ok() ? ended->output : ended.status().message();
    return ended.ok() && ended->code == 0;
  }

  template <typename Ready>
  void await(Ready ready) {
    const Deadline deadline = soon();
    while (!ready()) {
      ASSERT_FALSE(deadline.passed()) << read("log/gang.log");
      std::this_thread::sleep_for(milliseconds(10));
    }
  }

  std::unique_ptr<Gang> launch(const std::string& script) {
    GangSpec spec;
    spec.command = {"/bin/sh", "-c", script};
    spec.ranks = 2;
    spec.environment["TOKEN"] = "secret-word";
    spec.log_dir = directory_ + "/log";
    spec.work_dir = directory_ + "/work";
    if (!launcher_) launcher_ = *make_hosts_launcher(options_);
    auto gang = launcher_->launch(spec);
    EXPECT_TRUE(gang.ok()) << gang.status().to_string();
    if (!gang.ok()) return nullptr;
    launched_.push_back((*gang)->identity());
    return std::move(gang).value();
  }

  std::unique_ptr<Gang> launch_sleepers() {
    auto gang = launch("trap '' TERM; echo up > up.$OMPI_COMM_WORLD_RANK; sleep 300 & wait");
    await([&] { return !read("work/up.0").empty() && !read("work/up.1").empty(); });
    return gang;
  }

  std::string read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(directory_ + "/" + name).rdbuf();
    return text.str();
  }

  std::string directory_, said_;
  std::vector<std::string> namespaces_;
  pid_t host2_ = 0;
  int64_t init2_ = 0;
  LauncherOptions options_;
  std::unique_ptr<Launcher> launcher_;
  std::vector<GangIdentity> launched_;
};

TEST_F(HostsLauncher, OneRankOnEachHostAndNoSecretInAnyCommandLine) {
  auto gang =
      launch("echo rank $OMPI_COMM_WORLD_RANK on $(hostname) token $TOKEN; cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok());
  const std::string log = read("log/gang.log");
  EXPECT_EQ(ended->code, 0) << log;
  EXPECT_NE(log.find("[1,0]<stdout>:rank 0 on host1 token secret-word"), std::string::npos) << log;
  EXPECT_NE(log.find("[1,1]<stdout>:rank 1 on host2 token secret-word"), std::string::npos) << log;
  EXPECT_NE(log.find("orted"), std::string::npos) << log;  // the daemon's command line is among them
  EXPECT_EQ(log.find("TOKEN=secret-word"), std::string::npos);
  size_t told = 0;
  for (size_t at = 0; (at = log.find("secret-word", at)) != std::string::npos; ++at) ++told;
  EXPECT_EQ(told, 2u) << log;
}

TEST_F(HostsLauncher, KillHardReachesEveryHost) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  EXPECT_GE(find_processes("TEPHRA_GANG=" + gang->identity().marker, 0).size(), 4u);
  const Status killed = gang->kill_hard();
  EXPECT_TRUE(killed.ok()) << killed.to_string();
}

TEST_F(HostsLauncher, AdoptedAfterTheLauncherIsGone) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  auto another = make_hosts_launcher(options_);
  ASSERT_TRUE(another.ok());
  EXPECT_EQ(gang->identity().launcher, "hosts");
  auto adopted = (*another)->adopt(gang->identity());
  ASSERT_TRUE(adopted.ok()) << adopted.status().to_string();
  EXPECT_FALSE((*adopted)->poll());
  std::thread reaper([&] { (void)gang->wait(soon()); });
  EXPECT_TRUE((*adopted)->kill_hard().ok());
  reaper.join();
  EXPECT_EQ((*another)->adopt(gang->identity()).status().code(), Code::kNotFound);
}

TEST_F(HostsLauncher, ALostHostIsNoticedAndNamed) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  end_host2();
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_NE(ended->code, 0);
  EXPECT_NE(ended->description.find("host "), std::string::npos) << ended->description << read("log/gang.log");
  const Status killed = gang->kill_hard();  // what ran there cannot be asked for any more
  EXPECT_EQ(killed.code(), Code::kUnavailable);
  EXPECT_NE(killed.message().find("10.77.0.2"), std::string::npos) << killed.message();
}

}  // namespace
}  // namespace tephra::cluster
