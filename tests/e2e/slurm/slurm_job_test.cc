// Whole jobs under a real Slurm that this program starts.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "cluster/child_process.h"
#include "tests/cluster/slurm/one_machine_slurm.h"
#include "tests/e2e/harness.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

std::string tiny() { return std::string(TEPHRA_SOURCE_DIR) + "/tests/e2e/tiny.yaml"; }

class SlurmJob : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(scratch_.path("slurm"));
    std::filesystem::permissions(scratch_.path(""), static_cast<std::filesystem::perms>(0755));
    std::string why_not;
    slurm_ = cluster::OneMachineSlurm::start(scratch_.path("slurm"), 4, &why_not);
    if (slurm_ == nullptr) GTEST_SKIP() << "SKIPPED, NOT TESTED HERE: jobs under Slurm: " << why_not;
  }

  std::vector<std::string> run_command(const std::string& store, const std::vector<std::string>& more) const {
    std::vector<std::string> command{"run", tiny(), "--store", store, "--json"};
    command.insert(command.end(), more.begin(), more.end());
    return tephra_command(command);
  }
  static std::vector<std::string> under_slurm(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--launcher", "slurm", "--network", "lo"});
    return more;
  }
  std::map<std::string, std::string> hashes_on_this_machine(const std::vector<std::string>& more = {}) {
    const std::string store = scratch_.path("local");
    const Finished run = Process(run_command(store, more), scratch_.path("")).wait(600s);
    EXPECT_EQ(run.code, 0) << run.err;
    return content_hashes(scratch_, store);
  }
  json show() const {
    return json::parse(tephra(scratch_, {"show", "tiny-1", "--store", store_, "--json"}).out, nullptr, false);
  }
  static std::string queue() {
    const auto ran = cluster::run_captured({"squeue", "--noheader", "--format=%i %j %T"}, {}, "", Deadline::after(20s));
    return ran.ok() ? ran->output : ran.status().message();
  }
  static int lines(const std::string& text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

  Scratch scratch_;
  std::string store_ = scratch_.path("store");
  std::unique_ptr<cluster::OneMachineSlurm> slurm_;
};

TEST_F(SlurmJob, GoesOnWhenTheCoordinatorIsKilledAndStartedAgainWithTheBitsOfMpirun) {
  std::string slurm_job;
  {
    Process run(run_command(store_, under_slurm()), scratch_.path(""));
    ASSERT_TRUE(run.wait_until([&] { return run.output().find("\"step\":5,") != std::string::npos; }, 120s))
        << run.wait(1s).err << read_text(store_ + "/jobs/tiny-1/logs/attempt-1/gang.log");
    slurm_job = queue();
    EXPECT_NE(slurm_job.find(" tephra-tiny-1 RUNNING"), std::string::npos) << slurm_job;
    run.signal(SIGKILL);
    EXPECT_EQ(run.wait(10s).code, 128 + SIGKILL);
  }
  Process again(run_command(store_, under_slurm()), scratch_.path(""));
  ASSERT_TRUE(again.wait_until([&] { return again.output().find("\"kind\":\"step\"") != std::string::npos; }, 60s));
  EXPECT_EQ(queue(), slurm_job);
  const Finished finished = again.wait();
  ASSERT_EQ(finished.code, 0) << finished.err;
  const json job = show();
  EXPECT_EQ(job.value("attempt", 0), 1) << job.dump();
  EXPECT_EQ(job.value("restarts", -1), 0) << job.dump();
  EXPECT_EQ(content_hashes(scratch_, store_), hashes_on_this_machine());
  EXPECT_EQ(queue(), "");
  EXPECT_TRUE(none_left(store_));
}

TEST_F(SlurmJob, ACoordinatorWithAnotherLauncherEndsTheSlurmJobThatItsPredecessorLeft) {
  {
    Process run(run_command(store_, under_slurm()), scratch_.path(""));
    ASSERT_TRUE(run.wait_until([&] { return run.output().find("\"step\":5,") != std::string::npos; }, 120s));
    run.signal(SIGKILL);
    EXPECT_EQ(run.wait(10s).code, 128 + SIGKILL);
  }
  const Finished finished = Process(run_command(store_, {}), scratch_.path("")).wait();
  ASSERT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(show().value("attempt", 0), 2);
  EXPECT_EQ(queue(), "");
  EXPECT_TRUE(none_left(store_));
}

TEST_F(SlurmJob, AJobThatWaitsForSlurmSaysWhyAndCanBeCancelled) {
  Process server(tephra_command({"serve", "--store", store_, "--listen", "127.0.0.1:0", "--launcher", "slurm",
                                 "--network", "lo", "--sbatch-argument=--partition=closed"}),
                 scratch_.path(""));
  ASSERT_TRUE(server.wait_until([&] { return server.output().find("(4 slots)") != std::string::npos; }, 30s))
      << server.output();  // the CPUs of the cluster
  ASSERT_EQ(tephra(scratch_, {"submit", tiny(), "--store", store_}).code, 0);
  json job;
  ASSERT_TRUE(server.wait_until(
      [&] { return (job = show()).value("waits_for", "").find("(PartitionDown)") != std::string::npos; }, 60s))
      << job.dump();
  EXPECT_NE(job["waits_for"].get<std::string>().find("its partition is down; start it"), std::string::npos);
  ASSERT_EQ(tephra(scratch_, {"cancel", "tiny-1", "--store", store_}).code, 0);
  ASSERT_TRUE(server.wait_until([&] { return (job = show()).value("phase", "") == "cancelled"; }, 60s)) << job.dump();
  EXPECT_EQ(queue(), "");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(60s).code, 0);
}

// Slurm counts minutes and looks every half of one, so the job is made to last longer than one limit.
TEST_F(SlurmJob, ATimeLimitBecomesACheckpointAndTheJobGoesOnAsANewSlurmJob) {
  const std::vector<std::string> long_job = {"--set", "stages[1].steps=1600", "--set",
                                             "stages[1].checkpoint.every_steps=800"};
  Process run(run_command(store_, under_slurm([&] {
                            std::vector<std::string> more = long_job;
                            more.insert(more.end(), {"--sbatch-argument=--time=1", "--slurm-notice", "5"});
                            return more;
                          }())),
              scratch_.path(""));
  const Finished finished = run.wait(540s);
  ASSERT_EQ(finished.code, 0) << finished.err;
  const json job = show();
  EXPECT_GE(job.value("attempt", 0), 2) << job.dump();
  EXPECT_EQ(job.value("restarts", -1), 0) << job.dump();
  EXPECT_NE(finished.out.find("goes back to the queue: Slurm takes the hosts"), std::string::npos) << finished.out;
  const auto here = content_hashes(scratch_, store_), there = hashes_on_this_machine(long_job);
  EXPECT_GT(here.size(), there.size()) << "no checkpoint was written at the limit";
  EXPECT_EQ(here.at("tiny-1/instruct@1600"), there.at("tiny-1/instruct@1600"));
  EXPECT_EQ(queue(), "");
}

}  // namespace
}  // namespace tephra::e2e
