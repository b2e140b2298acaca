// The launcher contract and what the slurm launcher has beside it, over a real Slurm that this program starts.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cluster/child_process.h"
#include "tests/cluster/launcher_contract.h"
#include "tests/cluster/slurm/one_machine_slurm.h"

namespace tephra::cluster {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline within(int s) { return Deadline::after(seconds(s)); }

// One Slurm for all tests. The process that the contract starts uses its parent's.
class Slurm : public ::testing::Environment {
 public:
  void SetUp() override {
    if (std::getenv("TEPHRA_TEST_DIRECTORY") != nullptr || std::getenv("TEPHRA_TEST_RANKS") != nullptr) return;
    directory = ::testing::TempDir() + "/tephra_slurm_XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    running = OneMachineSlurm::start(directory, 4, &why_not);
  }
  void TearDown() override {
    running.reset();
    if (!directory.empty()) std::filesystem::remove_all(directory);
  }
  std::string directory, why_not;
  std::unique_ptr<OneMachineSlurm> running;
};
Slurm* const slurm = static_cast<Slurm*>(::testing::AddGlobalTestEnvironment(new Slurm));

LauncherOptions options(std::vector<std::string> arguments = {}) {
  LauncherOptions options;
  options.slurm.sbatch_arguments = std::move(arguments);
  options.slurm.poll_every = milliseconds(200);
  options.withheld = {kWithheld};
  return options;
}

const LauncherCase kSlurm = {"slurm",
                             [](const std::string&, std::string* why_not) -> std::shared_ptr<void> {
                               *why_not = slurm->why_not;
                               return slurm->running ? std::make_shared<int>(0) : nullptr;
                             },
                             [](const std::string&) { return make_slurm_launcher(options()); }};
const bool kRegistered = (register_launcher_case(kSlurm), true);

INSTANTIATE_TEST_SUITE_P(Launchers, LauncherContract, ::testing::Values(kSlurm), launcher_case_name);

class SlurmLauncher : public LauncherTest {
 protected:
  const LauncherCase& launcher_case() const override { return kSlurm; }

  void use(const LauncherOptions& options) {
    auto made = make_slurm_launcher(options);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    launcher_ = std::move(made).value();
  }
  static std::string say(const std::vector<std::string>& command) {
    const auto ran = run_captured(command, {}, "", within(30));
    return ran.ok() ? ran->output : ran.status().message();
  }
};

TEST_F(SlurmLauncher, AJobThatWaitsSaysWhyAndCanBeEndedAndAdopted) {
  use(options({"--partition=closed"}));
  auto gang = launch(spec("exit 0"));
  ASSERT_NE(gang, nullptr);
  EXPECT_NE(gang->notice().waiting, "");  // from the first moment on
  await([&] { return gang->notice().waiting.find("(PartitionDown)") != std::string::npos; });
  EXPECT_NE(gang->notice().waiting.find("its partition is down; start it"), std::string::npos)
      << gang->notice().waiting;
  EXPECT_FALSE(gang->poll());
  auto adopted = launcher_->adopt(gang->identity());
  ASSERT_TRUE(adopted.ok()) << adopted.status().to_string();
  EXPECT_TRUE((*adopted)->kill_hard().ok());
  ASSERT_TRUE((*adopted)->wait(within(10)).ok());
  const auto ended = gang->wait(within(10));
  ASSERT_TRUE(ended.ok());
  EXPECT_NE(ended->code, 0);
  EXPECT_NE(ended->description.find("was cancelled (scancel)"), std::string::npos) << ended->description;
}

TEST_F(SlurmLauncher, AJobThatWaitsTooLongIsCancelledAndTheEndSaysWhy) {
  LauncherOptions impatient = options({"--partition=closed"});
  impatient.slurm.pending_max = seconds(1);
  use(impatient);
  auto gang = launch(spec("exit 0"));
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(within(20));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->code, -1);
  EXPECT_NE(ended->description.find("its partition is down"), std::string::npos) << ended->description;
  EXPECT_NE(ended->description.find("for longer than the 1 s that it may; it was cancelled"), std::string::npos)
      << ended->description;
  EXPECT_TRUE(gang->kill_hard().ok());
  EXPECT_EQ(say({"squeue", "--noheader"}), "");
}

TEST_F(SlurmLauncher, KnowsTheClustersCpus) { EXPECT_EQ(launcher_->slots(), 4); }

TEST_F(SlurmLauncher, ARefusedJobSaysWhyAndWhatToDo) {
  use(options({"--partition=nowhere"}));
  const Status refused = launcher_->launch(spec("exit 0")).status();
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_EQ(refused.retry_class(), RetryClass::kNeedsOperator);
  EXPECT_NE(refused.message().find("nowhere"), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find("there are: main, urgent, closed"), std::string::npos) << refused.message();
}

TEST_F(SlurmLauncher, WithoutSlurmsCommandsItSaysWhatToInstall) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", directory_.c_str(), 1);
  const auto made = make_slurm_launcher({});
  setenv("PATH", path.c_str(), 1);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kUnavailable);
  EXPECT_NE(made.status().message().find("sbatch was not found in PATH; install Slurm's commands"), std::string::npos)
      << made.status().message();
}

TEST_F(SlurmLauncher, AControllerThatDoesNotAnswerIsNamed) {
  const std::string real = std::getenv("SLURM_CONF");
  std::ifstream in(real);
  std::ofstream out(directory_ + "/slurm.conf");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("SlurmctldPort", 0) != 0) out << line << "\n";
  out << "SlurmctldPort=1\nMessageTimeout=2\n";
  out.close();
  setenv("SLURM_CONF", (directory_ + "/slurm.conf").c_str(), 1);
  const Status silent = launcher_->launch(spec("exit 0")).status();
  setenv("SLURM_CONF", real.c_str(), 1);
  EXPECT_EQ(silent.code(), Code::kUnavailable) << silent.to_string();
  EXPECT_EQ(silent.retry_class(), RetryClass::kNewAttempt);
  EXPECT_NE(silent.message().find("scontrol ping"), std::string::npos) << silent.message();
}

TEST_F(SlurmLauncher, ACancelledJobIsSaidToBe) {
  auto gang = launch_sleepers("");
  ASSERT_NE(gang, nullptr);
  say({"scancel", std::to_string(gang->pid())});
  const auto ended = gang->wait(within(30));
  ASSERT_TRUE(ended.ok());
  EXPECT_NE(ended->description.find("was cancelled (scancel)"), std::string::npos) << ended->description;
  EXPECT_FALSE(ended->withdrawn);
  EXPECT_TRUE(gang->kill_hard().ok());
}

// Slurm may not start the same attempt twice: its number is the fence.
TEST_F(SlurmLauncher, SlurmItselfDoesNotRequeue) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  const std::string id = std::to_string(gang->pid());
  EXPECT_NE(say({"scontrol", "requeue", id}), "");
  EXPECT_NE(say({"scontrol", "-o", "show", "job", id}).find(" Requeue=0 Restarts=0 "), std::string::npos);
  EXPECT_FALSE(gang->poll());
  EXPECT_TRUE(gang->kill_hard().ok());
}

TEST_F(SlurmLauncher, AJobOfHigherPriorityTakesTheHostsAfterANotice) {
  use(options({"--exclusive"}));
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  EXPECT_EQ(gang->notice().ending, "");
  use(options({"--exclusive", "--partition=urgent"}));
  GangSpec urgent = spec("echo ran");
  urgent.log_dir = directory_ + "/urgent";
  auto second = launch(urgent);
  ASSERT_NE(second, nullptr);
  await([&] { return !gang->notice().ending.empty() || gang->poll(); });
  EXPECT_NE(gang->notice().ending.find("takes the hosts of job"), std::string::npos);
  const auto ended = gang->wait(within(60));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_TRUE(ended->withdrawn) << ended->description;
  EXPECT_NE(ended->description.find("made room for a job of higher priority"), std::string::npos) << ended->description;
  EXPECT_TRUE(gang->kill_hard().ok());
  const auto ran = second->wait(within(60));
  ASSERT_TRUE(ran.ok()) << second->notice().waiting;
  EXPECT_EQ(ran->code, 0) << ran->description;
  EXPECT_TRUE(second->kill_hard().ok());
}

// Slurm counts time limits in minutes and looks at them every half minute.
TEST_F(SlurmLauncher, TheTimeLimitIsToldBeforeItEndsTheGang) {
  LauncherOptions limited = options({"--time=1"});
  limited.slurm.notice = seconds(40);
  use(limited);
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  for (const Deadline deadline = within(90); gang->notice().ending.empty() && !deadline.passed();)
    (void)gang->wait(Deadline::after(milliseconds(100)));
  EXPECT_NE(gang->notice().ending.find("time limit"), std::string::npos);
  EXPECT_FALSE(gang->poll());
  const auto ended = gang->wait(within(150));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_TRUE(ended->withdrawn) << ended->description;
  EXPECT_NE(ended->description.find("reached its time limit"), std::string::npos) << ended->description;
  EXPECT_TRUE(gang->kill_hard().ok());
}

}  // namespace
}  // namespace tephra::cluster
