// What the local launcher has beside the contract (launcher_contract.h): real mpirun with shell scripts as ranks. Every test ends with no process left, which the fixture checks in /proc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "cluster/launcher.h"
#include "cluster/process_tree.h"

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline soon() { return Deadline::after(seconds(60)); }

class LocalLauncher : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "/tephra_launcher_XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override {
    for (const GangIdentity& gang : launched_) {
      const auto left = find_processes("TEPHRA_GANG=" + gang.marker, 0);
      EXPECT_TRUE(left.empty()) << left.size() << " processes left, first " << left[0].pid << " " << left[0].name;
      for (const ProcessInfo& process : left) kill_process(process);
    }
    std::filesystem::remove_all(directory_);
  }

  GangSpec spec(const std::string& script, int ranks = 2) {
    GangSpec spec;
    spec.command = {"/bin/sh", "-c", script};
    spec.ranks = ranks;
    spec.log_dir = directory_ + "/log";
    spec.work_dir = directory_ + "/work";
    return spec;
  }

  std::unique_ptr<Gang> launch(const GangSpec& spec) {
    auto gang = make_local_launcher()->launch(spec);
    EXPECT_TRUE(gang.ok()) << gang.status().to_string();
    if (!gang.ok()) return nullptr;
    launched_.push_back((*gang)->identity());
    return std::move(gang).value();
  }

  std::string read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(directory_ + "/" + name).rdbuf();
    return text.str();
  }

  // The pids that the ranks wrote to work/pid.N, once all have.
  std::vector<int64_t> rank_pids(int ranks) {
    std::vector<int64_t> pids;
    const Deadline deadline = soon();
    while (static_cast<int>(pids.size()) < ranks) {
      const std::string text = read("work/pid." + std::to_string(pids.size()));
      if (!text.empty() && text.back() == '\n') {
        pids.push_back(std::stoll(text));
      } else if (deadline.passed()) {
        ADD_FAILURE() << "the ranks did not start: " << read("log/gang.log");
        return pids;
      } else {
        std::this_thread::sleep_for(milliseconds(5));
      }
    }
    return pids;
  }
  static constexpr char kWritePidAndSleep[] = "echo $$ > pid.$OMPI_COMM_WORLD_RANK; sleep 300 & wait";

  void expect_gone(const std::vector<int64_t>& pids) {
    for (int64_t pid : pids) {
      const auto info = read_process(pid);
      EXPECT_FALSE(info && info->alive()) << pid;
    }
  }

  std::string directory_;
  std::vector<GangIdentity> launched_;
};

TEST_F(LocalLauncher, MpirunIsToldNamesAndThreads) {
  GangSpec s = spec("echo of $OMPI_COMM_WORLD_SIZE threads $OMP_NUM_THREADS; tr '\\0' ' ' < /proc/$PPID/cmdline");
  s.threads_per_rank = 3;
  s.environment["TOKEN"] = "secret-word";
  auto gang = launch(s);
  ASSERT_NE(gang, nullptr);
  auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  const std::string log = read("log/gang.log");
  EXPECT_NE(log.find("of 2 threads 3"), std::string::npos) << log;
  // mpirun's command line, which everyone on the machine can read, names the variable and not its value.
  EXPECT_NE(log.find("-x TOKEN"), std::string::npos) << log;
}

// A stand-in for mpirun that says what Open MPI 4.1 says. The first report belongs to an earlier attempt in the same
// log.
TEST_F(LocalLauncher, WordsOfTheEnd) {
  const struct {
    std::string report;
    int code, signal;
    std::string words;
  } cases[] = {
      {"  Process name: [[1,1],5]  non-zero exit code", 3, 0, "rank 5 ended with exit code 3"},
      {"a non-zero exit code. Process name: [[24134,1],1]  Exit code: 7", 7, 0, "rank 1 ended with exit code 7"},
      {"mpirun noticed that process rank 2 with PID 9 on node vm exited on signal 11 (Segmentation fault).", 139,
       SIGSEGV, "rank 2 ended by signal 11 (Segmentation fault)"},
      {"nothing", 137, SIGKILL, "a rank ended by signal 9 (Killed)"},
      {"There are not enough slots available in the system", 1, 0, "mpirun found too few slots"},
      {"nothing", 6, 0, "a rank or mpirun ended with exit code 6"},
      {"nothing", 0, 0, "all ranks ended with exit code 0"},
  };
  const std::string fake = directory_ + "/mpirun";
  for (const auto& c : cases) {
    std::ofstream(fake) << "#!/bin/sh\necho '" << c.report << "'\nexit " << c.code << "\n";
    std::filesystem::permissions(fake, std::filesystem::perms::owner_all);
    auto gang = make_local_launcher({.mpirun = fake})->launch(spec("exit 0"));
    ASSERT_TRUE(gang.ok()) << gang.status().to_string();
    launched_.push_back((*gang)->identity());
    auto ended = (*gang)->wait(soon());
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->code, c.code);
    EXPECT_EQ(ended->signal, c.signal);
    EXPECT_EQ(ended->description.rfind(c.words, 0), 0u) << ended->description;
  }
}

TEST_F(LocalLauncher, MoreRanksThanCores) {
  const int ranks = 2 * static_cast<int>(std::thread::hardware_concurrency()) + 1;
  auto gang = launch(spec("exit 0", ranks));
  ASSERT_NE(gang, nullptr);
  auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->code, 0) << read("log/gang.log");
}

TEST_F(LocalLauncher, KilledRankEndsTheGangAtOnce) {
  auto gang = launch(spec(kWritePidAndSleep));
  ASSERT_NE(gang, nullptr);
  const auto pids = rank_pids(2);
  ASSERT_EQ(pids.size(), 2u);
  EXPECT_FALSE(gang->poll());
  EXPECT_EQ(gang->wait(Deadline::after(milliseconds(10))).status().code(), Code::kTimeout);
  const auto begin = std::chrono::steady_clock::now();
  kill(static_cast<pid_t>(pids[1]), SIGKILL);
  auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(5));
  EXPECT_EQ(ended->signal, SIGKILL);
  EXPECT_EQ(ended->code, 128 + SIGKILL);
  EXPECT_NE(ended->description.find("rank"), std::string::npos) << ended->description;
  EXPECT_NE(ended->description.find("ended by signal 9 (Killed)"), std::string::npos) << ended->description;
  EXPECT_TRUE(gang->kill_hard().ok());
  expect_gone(pids);
}

TEST_F(LocalLauncher, KillHardAfterMpirunItselfWasKilled) {
  auto gang = launch(spec(kWritePidAndSleep));
  ASSERT_NE(gang, nullptr);
  const auto pids = rank_pids(2);
  kill(static_cast<pid_t>(gang->pid()), SIGKILL);
  auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->signal, SIGKILL);
  EXPECT_NE(ended->description.find("mpirun ended by signal 9"), std::string::npos) << ended->description;
  EXPECT_TRUE(gang->kill_hard().ok());
  expect_gone(pids);
}

TEST_F(LocalLauncher, DescriptorsDoNotLeakIntoRanks) {
  const int leaky = open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as a library might
  ASSERT_EQ(fcntl(leaky, F_DUPFD, 200), 200);
  auto gang = launch(spec("ls -l /proc/$PPID/fd /proc/$$/fd", 1));
  ASSERT_NE(gang, nullptr);
  ASSERT_TRUE(gang->wait(soon()).ok());
  close(200);
  close(leaky);
  const std::string log = read("log/gang.log");
  EXPECT_NE(log.find(" 1 -> "), std::string::npos) << log;
  EXPECT_EQ(log.find(" 200 -> "), std::string::npos) << log;
}

TEST_F(LocalLauncher, NamesWhatIsMissing) {
  auto missing = make_local_launcher({.mpirun = "no-such-mpirun"})->launch(spec("exit 0"));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), Code::kUnavailable);
  EXPECT_EQ(missing.status().message(),
            "no-such-mpirun was not found in PATH; install openmpi-bin (Debian) or set launcher.mpirun in the recipe");
  missing = make_local_launcher({.mpirun = "/nowhere/mpirun"})->launch(spec("exit 0"));
  EXPECT_EQ(missing.status().code(), Code::kUnavailable);
  GangSpec no_program = spec("");
  no_program.command = {"no-such-program-at-all"};
  EXPECT_NE(make_local_launcher()->launch(no_program).status().message().find("no-such-program-at-all"),
            std::string::npos);
  EXPECT_EQ(make_local_launcher()->launch(spec("exit 0", 0)).status().code(), Code::kInvalidArgument);
  GangSpec bad_name = spec("exit 0");
  bad_name.environment["A=B"] = "c";
  EXPECT_EQ(make_local_launcher()->launch(bad_name).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra::cluster
