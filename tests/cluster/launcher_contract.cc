#include "tests/cluster/launcher_contract.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "cluster/child_process.h"
#include "cluster/process_tree.h"
#include "tests/cluster/under_mpirun.h"

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline soon() { return Deadline::after(seconds(60)); }

std::map<std::string, LauncherCase>& registered() {
  static std::map<std::string, LauncherCase> cases;
  return cases;
}

// "PID TICKS MARKER LAUNCHER" and the folder of the log on a line of its own.
std::string to_text(const GangIdentity& gang) {
  return std::to_string(gang.pid) + " " + std::to_string(gang.start_ticks) + " " + gang.marker + " " + gang.launcher +
         "\n" + gang.log_dir + "\n";
}
GangIdentity from_text(const std::string& text) {
  GangIdentity gang;
  std::istringstream in(text);
  in >> gang.pid >> gang.start_ticks >> gang.marker >> gang.launcher >> gang.log_dir;
  return gang;
}

size_t count(const std::string& text, const std::string& words) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(words, at)) != std::string::npos; ++at) ++found;
  return found;
}

std::string all_command_lines() {
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ostringstream text;
    text << std::ifstream(entry.path() / "cmdline").rdbuf();
    all += text.str() + "\n";
  }
  return all;
}

std::string this_program() {
  char self[4096] = {};
  EXPECT_GT(readlink("/proc/self/exe", self, sizeof(self) - 1), 0);
  return self;
}

constexpr char kRank[] = "RANK=${OMPI_COMM_WORLD_RANK:-$SLURM_PROCID}; ";
constexpr char kSleep[] = "echo $$ > up.$RANK; sleep 300 & wait";
}  // namespace

void PrintTo(const LauncherCase& launcher, std::ostream* out) { *out << launcher.name; }

void register_launcher_case(const LauncherCase& launcher) { registered()[launcher.name] = launcher; }

void LauncherTest::SetUp() {
  directory_ = ::testing::TempDir() + "/tephra_launcher_XXXXXX";
  ASSERT_NE(mkdtemp(directory_.data()), nullptr);
  directory_ = std::filesystem::canonical(directory_).string();  // as the ranks' pwd says it
  std::filesystem::permissions(directory_, static_cast<std::filesystem::perms>(0755));
  std::string why_not;
  world_ = launcher_case().set_up(directory_, &why_not);
  if (world_ == nullptr)
    GTEST_SKIP() << "SKIPPED, NOT TESTED HERE: launcher " << launcher_case().name << ": " << why_not;
  auto made = launcher_case().make(directory_);
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  launcher_ = std::move(made).value();
}

void LauncherTest::TearDown() {
  for (const GangIdentity& gang : launched_) {
    const auto left = find_processes("TEPHRA_GANG=" + gang.marker, 0);
    EXPECT_TRUE(left.empty()) << left.size() << " processes left, first " << left[0].pid << " " << left[0].name;
    for (const ProcessInfo& process : left) kill_process(process);
  }
  launcher_.reset();
  world_.reset();
  std::filesystem::remove_all(directory_);
}

GangSpec LauncherTest::spec(const std::string& script, int ranks) const {
  GangSpec spec;
  spec.name = "contract-1";
  spec.command = {"/bin/sh", "-c", kRank + script};
  spec.ranks = ranks;
  spec.environment["TOKEN"] = "secret-word";
  spec.log_dir = directory_ + "/log";
  spec.work_dir = directory_ + "/work";
  return spec;
}

std::unique_ptr<Gang> LauncherTest::launch(const GangSpec& spec) {
  auto gang = launcher_->launch(spec);
  EXPECT_TRUE(gang.ok()) << gang.status().to_string();
  if (!gang.ok()) return nullptr;
  launched_.push_back((*gang)->identity());
  return std::move(gang).value();
}

std::unique_ptr<Gang> LauncherTest::launch_sleepers(const std::string& before) {
  std::filesystem::remove(directory_ + "/work/up.0");
  std::filesystem::remove(directory_ + "/work/up.1");
  auto gang = launch(spec(before + kSleep));
  await([&] { return !read("work/up.0").empty() && !read("work/up.1").empty(); });
  return gang;
}

std::string LauncherTest::read(const std::string& name) const {
  std::ostringstream text;
  text << std::ifstream(directory_ + "/" + name).rdbuf();
  return text.str();
}

void LauncherTest::await(const std::function<bool()>& ready) const {
  for (const Deadline deadline = soon(); !ready();) {
    ASSERT_FALSE(deadline.passed()) << read("log/gang.log");
    std::this_thread::sleep_for(milliseconds(5));
  }
}

std::vector<int64_t> LauncherTest::processes(const GangIdentity& gang) const {
  std::vector<int64_t> pids;
  for (const ProcessInfo& process : find_processes("TEPHRA_GANG=" + gang.marker, 0)) pids.push_back(process.pid);
  return pids;
}

TEST_P(LauncherContract, RunsTheRanksWithTheirEnvironment) {
  GangSpec s = spec("echo rank $RANK threads $OMP_NUM_THREADS token $TOKEN in $(pwd); echo oops >&2");
  s.environment["SPACED"] = "two words, 'quoted'";
  s.command[2] += "; echo spaced \"$SPACED\"";
  auto gang = launch(s);
  ASSERT_NE(gang, nullptr);
  EXPECT_EQ(gang->identity().launcher, GetParam().name);
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  const std::string log = read("log/gang.log");
  EXPECT_EQ(ended->code, 0) << ended->description << log;
  EXPECT_EQ(ended->description, "all ranks ended with exit code 0");
  EXPECT_FALSE(ended->withdrawn);
  for (const std::string rank : {"0", "1"}) {
    const std::string tag = "[1," + rank + "]";
    EXPECT_NE(log.find(tag + "<stdout>:rank " + rank + " threads 1 token secret-word in " + directory_ + "/work\n"),
              std::string::npos)
        << log;
    EXPECT_NE(log.find(tag + "<stderr>:oops\n"), std::string::npos) << log;
    EXPECT_NE(log.find(tag + "<stdout>:spaced two words, 'quoted'\n"), std::string::npos) << log;
  }
  EXPECT_TRUE(gang->kill_hard().ok());  // of a gang that has ended
}

TEST_P(LauncherContract, ReportsTheExitCodeAndTheRank) {
  auto gang = launch(spec("[ $RANK = 1 ] && exit 7; exit 0"));
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->code, 7) << ended->description << read("log/gang.log");
  EXPECT_EQ(ended->signal, 0);
  EXPECT_NE(ended->description.find("ended with exit code 7"), std::string::npos) << ended->description;
  EXPECT_NE(ended->description.find(directory_ + "/log/gang.log"), std::string::npos) << ended->description;
  EXPECT_EQ(ended->description.find("rank 0"), std::string::npos) << ended->description;
  ASSERT_TRUE(gang->poll());
  EXPECT_EQ(gang->poll()->code, 7);
  EXPECT_TRUE(gang->kill_hard().ok());
}

TEST_P(LauncherContract, AKilledRankEndsTheGangAndIsReportedInWords) {
  auto gang = launch(spec("[ $RANK = 1 ] && kill -9 $$; sleep 300"));
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->signal, SIGKILL) << ended->description << read("log/gang.log");
  EXPECT_EQ(ended->code, 128 + SIGKILL);
  EXPECT_NE(ended->description.find("ended by signal 9 (Killed)"), std::string::npos) << ended->description;
  EXPECT_FALSE(ended->withdrawn);
  EXPECT_TRUE(gang->kill_hard().ok());
}

TEST_P(LauncherContract, ARunningGangHasNotEnded) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  EXPECT_FALSE(gang->poll());
  EXPECT_EQ(gang->wait(Deadline::after(milliseconds(10))).status().code(), Code::kTimeout);
  await([&] { return gang->notice().waiting.empty(); });
  EXPECT_EQ(gang->notice().ending, "");
  EXPECT_TRUE(gang->kill_hard().ok());
}

TEST_P(LauncherContract, KillHardLeavesNothing) {
  // Ranks that ignore SIGTERM, each with a child in a session of its own.
  auto gang = launch_sleepers("trap '' TERM; setsid sleep 300 & ");
  ASSERT_NE(gang, nullptr);
  EXPECT_GE(processes(gang->identity()).size(), 6u);
  const Status killed = gang->kill_hard();
  EXPECT_TRUE(killed.ok()) << killed.to_string();
  EXPECT_EQ(processes(gang->identity()), std::vector<int64_t>{});
  ASSERT_TRUE(gang->poll());
  EXPECT_NE(gang->poll()->code, 0);
  EXPECT_TRUE(gang->kill_hard().ok());  // twice is fine
}

TEST_P(LauncherContract, TerminateEndsTheRanks) {
  auto gang = launch_sleepers("");
  ASSERT_NE(gang, nullptr);
  const Status ended = gang->terminate(seconds(10));
  EXPECT_TRUE(ended.ok()) << ended.to_string();
  ASSERT_TRUE(gang->poll());
  EXPECT_NE(gang->poll()->code, 0);
  EXPECT_EQ(processes(gang->identity()), std::vector<int64_t>{});
}

// In a process of its own: launches and leaves.
TEST(DISABLED_LauncherProcess, LaunchesAndLeaves) {
  const std::string directory = std::getenv("TEPHRA_TEST_DIRECTORY");
  auto launcher = registered().at(std::getenv("TEPHRA_TEST_LAUNCHER")).make(directory);
  ASSERT_TRUE(launcher.ok()) << launcher.status().to_string();
  GangSpec spec;
  spec.command = {"/bin/sh", "-c", kRank + std::string("trap '' TERM; ") + kSleep};
  spec.ranks = 2;
  spec.log_dir = directory + "/log";
  spec.work_dir = directory + "/work";
  auto gang = (*launcher)->launch(spec);
  ASSERT_TRUE(gang.ok()) << gang.status().to_string();
  std::ofstream(directory + "/identity") << to_text((*gang)->identity());
  while (!std::filesystem::exists(directory + "/work/up.0") || !std::filesystem::exists(directory + "/work/up.1"))
    std::this_thread::sleep_for(milliseconds(5));
  kill(getpid(), SIGKILL);
}

TEST_P(LauncherContract, AdoptedAfterItsLauncherWasKilled) {
  const auto left =
      run_captured({this_program(), "--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_LauncherProcess.*"},
                   {{"TEPHRA_TEST_DIRECTORY", directory_}, {"TEPHRA_TEST_LAUNCHER", GetParam().name}}, "", soon());
  ASSERT_TRUE(left.ok()) << left.status().to_string();
  ASSERT_EQ(left->code, 128 + SIGKILL) << left->output;
  const GangIdentity identity = from_text(read("identity"));
  launched_.push_back(identity);
  const std::vector<int64_t> pids = processes(identity);
  EXPECT_GE(pids.size(), 4u);

  GangIdentity other = identity;  // the same number, another gang
  other.start_ticks += 1;
  other.marker = "0123456789abcdef-no-such-gang";
  EXPECT_EQ(launcher_->adopt(other).status().code(), Code::kNotFound);
  EXPECT_EQ(processes(identity), pids) << "the wrong gang was ended";

  auto gang = launcher_->adopt(identity);
  ASSERT_TRUE(gang.ok()) << gang.status().to_string();
  EXPECT_FALSE((*gang)->poll());
  EXPECT_EQ((*gang)->identity().marker, identity.marker);
  EXPECT_EQ(processes(identity), pids) << "adopting touched it";
  const Status killed = (*gang)->kill_hard();
  EXPECT_TRUE(killed.ok()) << killed.to_string();
  EXPECT_TRUE((*gang)->poll());
  EXPECT_EQ(launcher_->adopt(identity).status().code(), Code::kNotFound);
}

TEST_P(LauncherContract, NoSecretOnAnyCommandLineOrInAnyFile) {
  auto gang = launch_sleepers(
      "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' > seen.$RANK; echo token $TOKEN | rev > token.$RANK; ");
  ASSERT_NE(gang, nullptr);
  const std::string here = all_command_lines();  // of this machine, those of namespaces too
  EXPECT_NE(here.find("up.$RANK"), std::string::npos);
  EXPECT_EQ(here.find("secret-word"), std::string::npos);
  for (const char* rank : {"0", "1"}) {
    EXPECT_EQ(read(std::string("work/token.") + rank), "drow-terces nekot\n") << "the ranks have it";
    const std::string seen = read(std::string("work/seen.") + rank);
    EXPECT_NE(seen.find("up.$RANK"), std::string::npos);
    EXPECT_EQ(seen.find("secret-word"), std::string::npos);
  }
  EXPECT_TRUE(gang->kill_hard().ok());
  for (const auto& entry : std::filesystem::directory_iterator(directory_ + "/log")) {
    const std::string name = "log/" + entry.path().filename().string();
    EXPECT_EQ(read(name).find("secret-word"), std::string::npos) << name;
  }
}

TEST_P(LauncherContract, WhatIsWithheldIsNotInTheRanksEnvironment) {
  ::setenv(kWithheld, "drawn-by-nobody", 1);
  auto gang =
      launch(spec(std::string("echo withheld ${") + kWithheld + ":-none}; tr '\\0' '\\n' < /proc/$PPID/environ"));
  ::unsetenv(kWithheld);
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  const std::string log = read("log/gang.log");
  EXPECT_EQ(count(log, "<stdout>:withheld none"), 2u) << log;
  EXPECT_EQ(log.find("drawn-by-nobody"), std::string::npos) << log;
  // Slurm's own starter keeps little of its environment: it writes its title over the rest.
  const bool read_it = log.find("TEPHRA_GANG=") != std::string::npos || log.find("SLURM_CONF=") != std::string::npos;
  EXPECT_TRUE(read_it) << "the starter's environment was read: " << log;
  EXPECT_TRUE(gang->kill_hard().ok());
}

TEST_P(LauncherContract, ASecondAttemptAppendsToTheLogAndIsDescribedByItsOwn) {
  for (const char* words : {"first", "second"}) {
    const bool first = std::string(words) == "first";
    auto gang = launch(spec(std::string("echo ") + words + (first ? "; exit 3" : "; exit 4"), 1));
    ASSERT_NE(gang, nullptr);
    const auto ended = gang->wait(soon());
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->code, first ? 3 : 4) << ended->description;
    EXPECT_TRUE(gang->kill_hard().ok());
  }
  const std::string log = read("log/gang.log");
  EXPECT_LT(log.find("[1,0]<stdout>:first"), log.find("[1,0]<stdout>:second")) << log;
  EXPECT_NE(log.find("[1,0]<stdout>:second"), std::string::npos) << log;
}

TEST_P(LauncherContract, ASpecThatMakesNoSenseIsRefused) {
  GangSpec no_program = spec("");
  no_program.command = {"no-such-program-at-all"};
  const Status missing = launcher_->launch(no_program).status();
  EXPECT_EQ(missing.code(), Code::kUnavailable);
  EXPECT_NE(missing.message().find("no-such-program-at-all"), std::string::npos);
  EXPECT_EQ(launcher_->launch(spec("exit 0", 0)).status().code(), Code::kInvalidArgument);
  GangSpec bad_name = spec("exit 0");
  bad_name.environment["A=B"] = "c";
  EXPECT_EQ(launcher_->launch(bad_name).status().code(), Code::kInvalidArgument);
}

// Inside a gang: one MPI world of all its ranks.
TEST(DISABLED_InsideGang, MeetsInOneWorld) {
  auto world = mpi_test_world();
  ASSERT_NE(world, nullptr);
  const Status met = world->barrier(Deadline::after(seconds(30)));
  EXPECT_TRUE(met.ok()) << met.to_string();
  world.reset();
  mpi_finalize();
}

TEST_P(LauncherContract, TheRanksFormOneMpiWorld) {
  GangSpec s = spec("");  // its script is replaced
  s.command = {this_program(), "--gtest_color=no", "--gtest_also_run_disabled_tests",
               "--gtest_filter=DISABLED_InsideGang.*"};
  s.environment["TEPHRA_TEST_RANKS"] = "2";
  s.environment["ASAN_OPTIONS"] = "detect_leaks=0";  // Open MPI leaves memory behind
  auto gang = launch(s);
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(soon());
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  const std::string log = read("log/gang.log");
  EXPECT_EQ(ended->code, 0) << ended->description << log;
  EXPECT_EQ(count(log, "[  PASSED  ] 1 test"), 2u) << log;
  EXPECT_TRUE(gang->kill_hard().ok());
}

}  // namespace tephra::cluster
