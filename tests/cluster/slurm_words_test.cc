// What Slurm says, in words: lines as Slurm 22.05 wrote them.
#include "cluster/slurm_words.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace tephra::cluster {
namespace {

constexpr char kShown[] =
    "JobId=17 JobName=tephra-job-1 UserId=root(0) JobState=PENDING Reason=PartitionDown Dependency=(null) Requeue=0 "
    "Restarts=0 BatchFlag=1 ExitCode=7:0 RunTime=00:00:00 TimeLimit=00:10:00 Partition=down WorkDir=/tmp "
    "Comment=abc  StdErr=/tmp/out.2\n";

TEST(SlurmWords, ReadsAJob) {
  const auto job = parse_slurm_job(kShown);
  ASSERT_TRUE(job.ok()) << job.status().to_string();
  EXPECT_EQ(job->id, 17);
  EXPECT_EQ(job->state, "PENDING");
  EXPECT_EQ(job->reason, "PartitionDown");
  EXPECT_EQ(job->partition, "down");
  EXPECT_EQ(job->comment, "abc");
  EXPECT_EQ(job->exit_code, 7);
  EXPECT_TRUE(job->waits());
  EXPECT_FALSE(job->ended());
  EXPECT_EQ(parse_slurm_job("no job at all").status().code(), Code::kCorruption);
}

TEST(SlurmWords, StatesThatHaveEndedAndThatHaveNot) {
  for (const char* state : {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"}) {
    EXPECT_TRUE((SlurmJob{1, state}.ended())) << state;
    EXPECT_FALSE((SlurmJob{1, state}.waits())) << state;
  }
  for (const char* state : {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"})
    EXPECT_FALSE((SlurmJob{1, state}.ended())) << state;
}

TEST(SlurmWords, WaitingIsSaidWithWhatToDo) {
  const struct {
    const char* reason;
    const char* words;
  } cases[] = {
      {"Resources", "Slurm job 17 waits: its hosts are busy (Resources)"},
      {"PartitionDown", "its partition is down; start it"},
      {"PartitionConfig", "ask for fewer ranks"},
      {"Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved", "sinfo -R says why"},
      {"JobHeldUser", "scontrol release"},
      {"QOSMaxCpuPerUserLimit", "a limit of its quality of service"},
      {"SomethingNew", "a reason of its own (SomethingNew)"},
  };
  for (const auto& c : cases) {
    const std::string words = describe_waiting({17, "PENDING", c.reason});
    EXPECT_NE(words.find(c.words), std::string::npos) << words;
  }
}

TEST(SlurmWords, CountsTheCpus) {
  EXPECT_EQ(parse_cpus("2/6/0/8\n"), 8);
  EXPECT_EQ(parse_cpus("2/6/0/8\n 0/0/4/4\n"), 12);
  EXPECT_EQ(parse_cpus("sinfo: error\n"), 0);
}

TEST(SlurmWords, TheEndNamesTheRankThatEndedFirst) {
  const std::string tail =
      "tephra: Slurm job 16 on vm\nsrun: error: vm: task 0: Exited with exit code 3\n"
      "tephra: Slurm job 17 on vm\n[1,0]<stdout>:srun: error: vm: task 0: Exited with exit code 9\n"
      "srun: error: vm: task 1: Exited with exit code 7\nsrun: launch/slurm: _step_signal: Terminating StepId=17.0\n"
      "srun: error: vm: task 0: Terminated\n";
  const ExitInfo ended = describe_slurm_exit({17, "RUNNING"}, 143, tail, "/log");
  EXPECT_EQ(ended.description, "rank 1 ended with exit code 7; its output is in /log");
  EXPECT_EQ(ended.code, 7);
  EXPECT_EQ(ended.signal, 0);
  const struct {
    const char* said;
    int code, signal;
    const char* words;
  } cases[] = {
      {"srun: error: n1: task 2: Killed", 137, SIGKILL, "rank 2 ended by signal 9 (Killed)"},
      {"srun: error: n1: tasks 0-1: Segmentation fault (core dumped)", 139, SIGSEGV,
       "ranks 0-1 ended by signal 11 (Segmentation fault)"},
      {"srun: error: n1: task 2: Out Of Memory", 1, 0, "rank 2: Out Of Memory"},
      {"srun: error: Couldn't find the specified plugin name for mpi/pmix", 1, 0,
       "srun ended with exit code 1: srun: error: Couldn't find the specified plugin"},
      {"", 1, 0, "srun ended with exit code 1; its output"},
  };
  for (const auto& c : cases) {
    const ExitInfo info = describe_slurm_exit({17, "FAILED"}, c.code, c.said, "/log");
    EXPECT_EQ(info.description.rfind(c.words, 0), 0u) << info.description;
    EXPECT_EQ(info.code, c.code);
    EXPECT_EQ(info.signal, c.signal);
    EXPECT_FALSE(info.withdrawn);
  }
  EXPECT_EQ(describe_slurm_exit({17, "COMPLETED"}, 0, "", "/log").description, "all ranks ended with exit code 0");
}

TEST(SlurmWords, WhatSlurmTookBackIsNotTheRanksDoing) {
  const std::string tail = "srun: error: vm: task 0: Terminated\n";
  for (const char* state : {"TIMEOUT", "PREEMPTED", "NODE_FAIL"}) {
    const ExitInfo info = describe_slurm_exit({17, state}, 143, tail, "/log");
    EXPECT_TRUE(info.withdrawn) << state;
    EXPECT_EQ(info.description.rfind("Slurm job 17 ", 0), 0u) << info.description;
  }
  SlurmJob timeout{17, "TIMEOUT"};
  EXPECT_EQ(describe_slurm_exit(timeout, -1, "", "/log").code,
            -1);  // an exit code of 0 that nobody wrote counts for nothing
  const ExitInfo cancelled = describe_slurm_exit({17, "CANCELLED"}, 143, tail, "/log");
  EXPECT_FALSE(cancelled.withdrawn);
  EXPECT_NE(cancelled.description.find("was cancelled (scancel)"), std::string::npos);
}

TEST(SlurmWords, RefusalsSayWhatToDo) {
  const Status partition = describe_refusal(
      "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition "
      "name specified\n",
      "main, urgent");
  EXPECT_EQ(partition.code(), Code::kUnavailable);
  EXPECT_EQ(partition.retry_class(), RetryClass::kNeedsOperator);
  EXPECT_EQ(partition.message(),
            "Slurm refuses the job: invalid partition specified: nope; Batch job submission failed: Invalid partition "
            "name specified; name another partition (--sbatch-argument=--partition=NAME); there are: main, urgent");
  const Status silent = describe_refusal("sbatch: error: Unable to contact slurm controller (connect failure)", "");
  EXPECT_EQ(silent.retry_class(), RetryClass::kNewAttempt);
  EXPECT_NE(silent.message().find("scontrol ping"), std::string::npos);
  EXPECT_NE(
      describe_refusal("sbatch: error: CPU count per node can not be satisfied\nsbatch: error: Batch job submission "
                       "failed: Requested node configuration is not available",
                       "")
          .message()
          .find("fewer ranks"),
      std::string::npos);
}

}  // namespace
}  // namespace tephra::cluster
