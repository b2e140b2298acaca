// What is proved: the table of what each event does in each phase, and, over random histories, that a job always ends,
// that two attempts never live at once, that no fenced message changes anything, and that a cancelled job ends as
// cancelled, failed or done.
#include "coordinator/job_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/random.h"
#include "recipes/recipe.h"

namespace tephra::coordinator {
namespace {

JobState new_job(int stages = 2, int benches = 1, int max_restarts = 2) {
  JobState state;
  state.id = "demo-1";
  state.max_restarts = max_restarts;
  state.world = state.world_max = 4;
  state.world_min = 1;
  for (int i = 0; i < stages; ++i) {
    StagePlan plan{"s" + std::to_string(i), i == 0 ? "base" : "s" + std::to_string(i - 1), {}};
    for (int b = 0; b < benches; ++b) plan.benches.push_back("b" + std::to_string(b));
    state.plan.push_back(plan);
  }
  state.stages.resize(state.plan.size());
  return transition(state, Submitted{1}).state;
}

// Applies events in order; the actions are those of the last.
struct Driver {
  JobState state;
  std::vector<Action> actions;
  Driver& apply(const Event& event) {
    Transition t = transition(state, event);
    state = std::move(t.state);
    actions = std::move(t.actions);
    return *this;
  }
  template <class A>
  const A* action() const {
    for (const Action& action : actions)
      if (const A* found = std::get_if<A>(&action)) return found;
    return nullptr;
  }
};

Driver training(int stages = 2, int benches = 1, int max_restarts = 2) {
  Driver d{new_job(stages, benches, max_restarts), {}};
  return d.apply(Scheduled{2}).apply(Prepared{Status(), "{}"}).apply(GangUp{1});
}

CheckpointCommitted committed(uint32_t attempt, int stage, int64_t step, bool complete) {
  const std::string name = "s" + std::to_string(stage);
  return {attempt, name, step, "demo-1/" + name + "@" + std::to_string(step), complete};
}

TEST(JobState, KeepsWhichCheckpointsGaveWay) {
  Driver d = training();
  CheckpointCommitted first = committed(1, 0, 4, false), second = committed(1, 0, 8, false);
  first.gave_way = {2, 3};
  second.gave_way = {3, 6, 2};
  d.apply(first).apply(second);
  EXPECT_EQ(d.state.stages[0].gave_way, (std::vector<int64_t>{2, 3, 6})) << "each once, in order";
}

TEST(JobState, GoesThroughStagesBenchesAndReport) {
  Driver d{new_job(), {}};
  d.apply(Scheduled{2});
  EXPECT_EQ(d.state.phase, Phase::kPreparing);
  ASSERT_NE(d.action<Prepare>(), nullptr);
  d.apply(Prepared{Status(), "{\"a\":1}"});
  EXPECT_EQ(d.state.prepared_json, "{\"a\":1}");
  ASSERT_NE(d.action<LaunchGang>(), nullptr);
  EXPECT_EQ(d.action<LaunchGang>()->attempt, 1u);
  EXPECT_EQ(d.action<LaunchGang>()->world, 4);
  d.apply(GangLaunched{1, {42, 7, "m", "l"}});
  EXPECT_EQ(d.state.gang_record.pid, 42);
  d.apply(GangUp{1});
  ASSERT_NE(d.action<SendTrain>(), nullptr);
  EXPECT_EQ(d.action<SendTrain>()->checkpoint, "");
  EXPECT_FALSE(d.action<SendTrain>()->resume);
  d.apply(committed(1, 0, 5, false)).apply(committed(1, 0, 10, true)).apply(TaskFinished{1, "train", "s0", ""});
  EXPECT_EQ(d.state.phase, Phase::kEvaluating);
  ASSERT_NE(d.action<SendEvaluate>(), nullptr);
  EXPECT_EQ(d.action<SendEvaluate>()->checkpoint, "demo-1/s0@10");
  d.apply(TaskFinished{1, "evaluate", "s0", "b0"});
  ASSERT_NE(d.action<ScoreBench>(), nullptr);
  d.apply(BenchScored{"s0", "b0", Status(), ""});
  EXPECT_EQ(d.state.phase, Phase::kTraining);
  EXPECT_EQ(d.state.stage, 1);
  ASSERT_NE(d.action<WriteReport>(), nullptr);
  EXPECT_FALSE(d.action<WriteReport>()->final);
  ASSERT_NE(d.action<SendTrain>(), nullptr);
  EXPECT_EQ(d.action<SendTrain>()->checkpoint, "demo-1/s0@10");
  EXPECT_FALSE(d.action<SendTrain>()->resume);
  d.apply(committed(1, 1, 10, true))
      .apply(TaskFinished{1, "train", "s1", ""})
      .apply(TaskFinished{1, "evaluate", "s1", "b0"});
  d.apply(BenchScored{"s1", "b0", Status(), ""});
  EXPECT_EQ(d.state.phase, Phase::kReporting);
  ASSERT_NE(d.action<StopGang>(), nullptr);
  EXPECT_EQ(d.action<WriteReport>(), nullptr) << "the final report waits for the gang's end";
  d.apply(GangEnded{1});
  ASSERT_NE(d.action<WriteReport>(), nullptr);
  EXPECT_TRUE(d.action<WriteReport>()->final);
  d.apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kDone);
  ASSERT_NE(d.action<NotifyDone>(), nullptr);
}

TEST(JobState, RestartsFromTheLastCommitOfTheStage) {
  Driver d = training();
  d.apply(committed(1, 0, 5, false)).apply(GangLost{1, "rank 1 ended by signal 9", RetryClass::kNewAttempt});
  EXPECT_EQ(d.state.gang, GangPhase::kEnding);
  ASSERT_NE(d.action<KillGang>(), nullptr);
  EXPECT_EQ(d.action<LaunchGang>(), nullptr) << "no new attempt while the old one may live";
  d.apply(GangEnded{1});
  ASSERT_NE(d.action<StartBackoff>(), nullptr);
  EXPECT_EQ(d.action<StartBackoff>()->ms, 200);
  d.apply(BackoffElapsed{1});
  ASSERT_NE(d.action<LaunchGang>(), nullptr);
  EXPECT_EQ(d.action<LaunchGang>()->attempt, 2u);
  d.apply(GangUp{2});
  ASSERT_NE(d.action<SendTrain>(), nullptr);
  EXPECT_EQ(d.action<SendTrain>()->checkpoint, "demo-1/s0@5");
  EXPECT_EQ(d.action<SendTrain>()->start_step, 5);
  EXPECT_TRUE(d.action<SendTrain>()->resume);
}

TEST(JobState, CountsRestartsSinceTheLastCommitOnly) {
  Driver d = training(1, 0, 1);
  uint32_t attempt = 1;
  for (int64_t step = 1; step <= 4; ++step, ++attempt) {
    d.apply(committed(attempt, 0, step, false))
        .apply(GangLost{attempt, "x", RetryClass::kNewAttempt})
        .apply(GangEnded{attempt});
    ASSERT_EQ(d.state.gang, GangPhase::kBackoff) << step;
    d.apply(BackoffElapsed{attempt}).apply(GangUp{attempt + 1});
  }
  d.apply(GangLost{attempt, "disk on fire", RetryClass::kNewAttempt})
      .apply(GangEnded{attempt})
      .apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
  EXPECT_EQ(d.state.reason, "disk on fire (after 1 restarts without a new checkpoint)");
  EXPECT_EQ(d.state.restarts_total, 4);
}

TEST(JobState, DoesNotRetryWhatWillFailAgain) {
  for (const RetryClass retry : {RetryClass::kPermanent, RetryClass::kNeedsOperator}) {
    Driver d = training();
    d.apply(GangLost{1, "bad recipe", retry}).apply(GangEnded{1});
    EXPECT_EQ(d.state.phase, Phase::kFailed);
    EXPECT_EQ(d.state.reason, "bad recipe");
    EXPECT_EQ(d.state.retry, retry);
  }
}

TEST(JobState, BackoffDoublesUpToTenSeconds) {
  EXPECT_EQ(backoff_ms(1), 200);
  EXPECT_EQ(backoff_ms(2), 400);
  EXPECT_EQ(backoff_ms(6), 6400);
  EXPECT_EQ(backoff_ms(7), 10000);
  EXPECT_EQ(backoff_ms(1000), 10000);
}

TEST(JobState, FencedMessagesChangeNothing) {
  Driver d = training();
  d.apply(GangLost{1, "x", RetryClass::kNewAttempt}).apply(GangEnded{1}).apply(BackoffElapsed{1}).apply(GangUp{2});
  const std::vector<Event> stale = {committed(1, 0, 5, true),
                                    TaskFinished{1, "train", "s0", ""},
                                    GangUp{1},
                                    GangLost{1, "y", RetryClass::kPermanent},
                                    GangEnded{1},
                                    BackoffElapsed{1},
                                    GangLaunched{1, {1, 1, "", ""}},
                                    committed(3, 0, 5, true),
                                    GangUp{2}};
  for (const Event& event : stale) EXPECT_FALSE(transition(d.state, event).changed) << describe(event);
  d.apply(GangLost{2, "x", RetryClass::kNewAttempt});
  for (const Event& event : {Event(committed(2, 0, 5, true)), Event(TaskFinished{2, "train", "s0", ""})})
    EXPECT_FALSE(transition(d.state, event).changed) << "the gang is ending: " << describe(event);
}

TEST(JobState, TakesNoCheckpointOutOfOrder) {
  Driver d = training();
  d.apply(committed(1, 0, 5, false));
  EXPECT_FALSE(transition(d.state, committed(1, 0, 5, false)).changed);
  EXPECT_FALSE(transition(d.state, committed(1, 0, 4, false)).changed);
  EXPECT_FALSE(transition(d.state, committed(1, 1, 6, false)).changed) << "another stage's";
  d.apply(committed(1, 0, 10, true));
  EXPECT_FALSE(transition(d.state, committed(1, 0, 11, false)).changed) << "the stage is complete";
}

TEST(JobState, FailsAStageThatEndsWithoutItsCheckpoint) {
  Driver d = training();
  d.apply(committed(1, 0, 5, false)).apply(TaskFinished{1, "train", "s0", ""});
  ASSERT_NE(d.action<StopGang>(), nullptr);
  d.apply(GangEnded{1}).apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
}

TEST(JobState, KeepsScoresOfALostGang) {
  Driver d = training(1, 2);
  d.apply(committed(1, 0, 3, true))
      .apply(TaskFinished{1, "train", "s0", ""})
      .apply(TaskFinished{1, "evaluate", "s0", "b0"});
  d.apply(GangLost{1, "x", RetryClass::kNewAttempt})
      .apply(BenchScored{"s0", "b0", Status(), ""})
      .apply(GangEnded{1})
      .apply(BackoffElapsed{1});
  d.apply(GangUp{2});
  ASSERT_NE(d.action<SendEvaluate>(), nullptr);
  EXPECT_EQ(d.action<SendEvaluate>()->bench, "b1");
}

TEST(JobState, NeedsNoGangForTheReportAlone) {
  Driver d = training(1, 1);
  d.apply(committed(1, 0, 3, true))
      .apply(TaskFinished{1, "train", "s0", ""})
      .apply(TaskFinished{1, "evaluate", "s0", "b0"});
  d.apply(GangLost{1, "x", RetryClass::kNewAttempt}).apply(BenchScored{"s0", "b0", Status(), ""}).apply(GangEnded{1});
  EXPECT_EQ(d.state.phase, Phase::kReporting);
  ASSERT_NE(d.action<WriteReport>(), nullptr);
  EXPECT_TRUE(d.action<WriteReport>()->final);
}

TEST(JobState, FailsWhenABenchCannotBeScored) {
  Driver d = training(1, 1);
  d.apply(committed(1, 0, 3, true))
      .apply(TaskFinished{1, "train", "s0", ""})
      .apply(TaskFinished{1, "evaluate", "s0", "b0"});
  d.apply(BenchScored{"s0", "b0", Status(Code::kCorruption, "no references"), ""})
      .apply(GangEnded{1})
      .apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
  EXPECT_EQ(d.state.reason, "bench b0 after stage s0: no references");
}

TEST(JobState, AGateThatIsNotPassedStopsBeforeTheNextStage) {
  Driver d = training(2, 1);
  d.apply(committed(1, 0, 3, true))
      .apply(TaskFinished{1, "train", "s0", ""})
      .apply(TaskFinished{1, "evaluate", "s0", "b0"});
  d.apply(BenchScored{"s0", "b0", Status(), "stage s0 did not pass its gate"});
  EXPECT_EQ(d.action<SendTrain>(), nullptr);
  ASSERT_NE(d.action<StopGang>(), nullptr);
  d.apply(GangEnded{1});
  ASSERT_NE(d.action<WriteReport>(), nullptr);
  EXPECT_TRUE(d.action<WriteReport>()->final);
  EXPECT_TRUE(d.state.stages[0].bench_done.at("b0")) << "what was measured is reported";
  d.apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
  EXPECT_EQ(d.state.reason, "stage s0 did not pass its gate");
}

TEST(JobState, AGateThatIsNotPassedBetweenAttemptsEndsTheJob) {
  Driver d = training(2, 1);
  d.apply(committed(1, 0, 3, true))
      .apply(TaskFinished{1, "train", "s0", ""})
      .apply(TaskFinished{1, "evaluate", "s0", "b0"});
  d.apply(GangLost{1, "x", RetryClass::kNewAttempt}).apply(GangEnded{1});
  d.apply(BenchScored{"s0", "b0", Status(), "no"});
  ASSERT_NE(d.action<WriteReport>(), nullptr);
  d.apply(BackoffElapsed{1}).apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
}

// One stage of ten steps; b0 is run every third step and b1 every sixth, and both after it.
Driver pausing() {
  JobState state = new_job(1, 2);
  state.plan[0].every = {{"b0", 3}, {"b1", 6}};
  Driver d{state, {}};
  return d.apply(Scheduled{2}).apply(Prepared{Status(), "{}"}).apply(GangUp{1});
}

TEST(JobState, ABenchOfEverySoManyStepsPausesTraining) {
  Driver d = pausing();
  d.apply(committed(1, 0, 3, false)).apply(TaskFinished{1, "train", "s0", ""});
  EXPECT_EQ(d.state.phase, Phase::kEvaluating);
  ASSERT_NE(d.action<SendEvaluate>(), nullptr);
  EXPECT_EQ(d.action<SendEvaluate>()->bench, "b0");
  EXPECT_EQ(d.action<SendEvaluate>()->checkpoint, "demo-1/s0@3");
  EXPECT_EQ(d.action<SendEvaluate>()->step, 3);
  d.apply(TaskFinished{1, "evaluate", "s0", "b0"});
  ASSERT_NE(d.action<ScoreBench>(), nullptr);
  EXPECT_EQ(d.action<ScoreBench>()->step, 3);
  d.apply(BenchScored{"s0", "b0", Status(), "", 3});
  EXPECT_EQ(d.state.phase, Phase::kTraining);
  ASSERT_NE(d.action<SendTrain>(), nullptr) << "b1 is not due";
  EXPECT_EQ(d.action<SendTrain>()->checkpoint, "demo-1/s0@3");
  EXPECT_EQ(d.action<SendTrain>()->start_step, 3);
  EXPECT_TRUE(d.action<SendTrain>()->resume);
  EXPECT_EQ(d.state.attempt, 1u);
  EXPECT_EQ(d.state.restarts_total, 0);
  EXPECT_FALSE(d.state.stages[0].bench_done.at("b0")) << "it is run after the stage too";
  EXPECT_EQ(d.state.scored_steps(0, "b0"), std::vector<int64_t>{3});
  d.apply(committed(1, 0, 6, false)).apply(TaskFinished{1, "train", "s0", ""});
  d.apply(TaskFinished{1, "evaluate", "s0", "b0"}).apply(BenchScored{"s0", "b0", Status(), "", 6});
  ASSERT_NE(d.action<SendEvaluate>(), nullptr);
  EXPECT_EQ(d.action<SendEvaluate>()->bench, "b1");
  d.apply(TaskFinished{1, "evaluate", "s0", "b1"}).apply(BenchScored{"s0", "b1", Status(), "", 6});
  ASSERT_NE(d.action<SendTrain>(), nullptr);
  d.apply(committed(1, 0, 9, true)).apply(TaskFinished{1, "train", "s0", ""});
  ASSERT_NE(d.action<SendEvaluate>(), nullptr)
      << "the stage's last step is also a ninth: it is run once, after the stage";
  EXPECT_EQ(d.action<SendEvaluate>()->step, 0);
  d.apply(TaskFinished{1, "evaluate", "s0", "b0"}).apply(BenchScored{"s0", "b0", Status(), ""});
  d.apply(TaskFinished{1, "evaluate", "s0", "b1"}).apply(BenchScored{"s0", "b1", Status(), ""});
  EXPECT_EQ(d.state.phase, Phase::kReporting);
  EXPECT_EQ(d.state.scored_steps(0, "b0"), (std::vector<int64_t>{3, 6}));
}

TEST(JobState, ABenchOfAStepIsRunAfterARestartBeforeTrainingGoesOn) {
  Driver d = pausing();
  d.apply(committed(1, 0, 3, false)).apply(TaskFinished{1, "train", "s0", ""});
  d.apply(GangLost{1, "x", RetryClass::kNewAttempt}).apply(GangEnded{1}).apply(BackoffElapsed{1}).apply(GangUp{2});
  ASSERT_NE(d.action<SendEvaluate>(), nullptr);
  EXPECT_EQ(d.action<SendEvaluate>()->step, 3);
  EXPECT_EQ(d.action<SendEvaluate>()->checkpoint, "demo-1/s0@3");
  d.apply(TaskFinished{2, "evaluate", "s0", "b0"}).apply(BenchScored{"s0", "b0", Status(), "", 3});
  EXPECT_FALSE(transition(d.state, BenchScored{"s0", "b0", Status(), "", 3}).changed) << "it is scored";
  // Lost again: what is scored is not asked again.
  d.apply(GangLost{2, "x", RetryClass::kNewAttempt}).apply(GangEnded{2}).apply(BackoffElapsed{2}).apply(GangUp{3});
  ASSERT_NE(d.action<SendTrain>(), nullptr);
  EXPECT_EQ(d.action<SendTrain>()->start_step, 3);
  EXPECT_TRUE(d.action<SendTrain>()->resume);
}

TEST(JobState, FailsATrainingTaskThatEndsBetweenTheStepsOfBenches) {
  Driver d = pausing();
  d.apply(committed(1, 0, 4, false)).apply(TaskFinished{1, "train", "s0", ""});
  ASSERT_NE(d.action<StopGang>(), nullptr);
  EXPECT_TRUE(d.state.failing);
}

TEST(JobState, FailsWhenABenchOfAStepCannotBeScored) {
  Driver d = pausing();
  d.apply(committed(1, 0, 3, false)).apply(TaskFinished{1, "train", "s0", ""});
  d.apply(TaskFinished{1, "evaluate", "s0", "b0"})
      .apply(BenchScored{"s0", "b0", Status(Code::kCorruption, "bad"), "", 3});
  EXPECT_EQ(d.state.reason, "bench b0 at step 3 of stage s0: bad");
}

TEST(JobState, CancelEndsInEveryPhase) {
  Driver queued{new_job(), {}};
  queued.apply(CancelRequested{"me"});
  EXPECT_EQ(queued.state.phase, Phase::kCancelled);
  EXPECT_NE(queued.action<NotifyDone>(), nullptr);

  Driver preparing{new_job(), {}};
  preparing.apply(Scheduled{1}).apply(CancelRequested{"me"});
  EXPECT_EQ(preparing.state.phase, Phase::kCancelled);
  EXPECT_FALSE(transition(preparing.state, Prepared{Status(), "{}"}).changed);

  Driver up = training();
  up.apply(CancelRequested{"me"});
  EXPECT_EQ(up.state.phase, Phase::kTraining) << "until the gang has ended";
  EXPECT_NE(up.action<StopGang>(), nullptr);
  EXPECT_FALSE(transition(up.state, CancelRequested{"again"}).changed);
  up.apply(GangEnded{1});
  EXPECT_EQ(up.state.phase, Phase::kCancelled);

  Driver backoff = training();
  backoff.apply(GangLost{1, "x", RetryClass::kNewAttempt}).apply(GangEnded{1}).apply(CancelRequested{"me"});
  EXPECT_EQ(backoff.state.phase, Phase::kCancelled);
  EXPECT_FALSE(transition(backoff.state, BackoffElapsed{1}).changed);
}

TEST(JobState, WhatEndsEarlyIsReportedOnceItHasACheckpoint) {
  const auto expect_report = [](Driver d, Phase phase, const std::string& ended) {
    EXPECT_EQ(d.state.phase, Phase::kReporting);
    ASSERT_NE(d.action<WriteReport>(), nullptr);
    EXPECT_TRUE(d.action<WriteReport>()->final);
    EXPECT_EQ(d.state.ended_early(), ended);
    EXPECT_NE(Driver(d).apply(CoordinatorRestarted{}).action<WriteReport>(), nullptr)
        << "also when a restart came between";
    // A report that cannot be written changes nothing about how the job ended.
    for (const Status& status : {Status(), Status(Code::kIo, "disk full")}) {
      Driver written = d;
      written.apply(ReportWritten{status});
      EXPECT_EQ(written.state.phase, phase);
      EXPECT_EQ(written.state.ended_early(), ended);
      EXPECT_NE(written.action<NotifyDone>(), nullptr);
    }
  };
  Driver trained = training();
  trained.apply(committed(1, 0, 5, false));
  expect_report(Driver(trained).apply(CancelRequested{"me"}).apply(GangEnded{1}), Phase::kCancelled, "cancelled: me");
  expect_report(Driver(trained).apply(GangLost{1, "bad", RetryClass::kPermanent}).apply(GangEnded{1}), Phase::kFailed,
                "failed: bad");
  expect_report(
      Driver(trained).apply(GangLost{1, "x", RetryClass::kNewAttempt}).apply(GangEnded{1}).apply(CancelRequested{""}),
      Phase::kCancelled, "cancelled");
  expect_report(Driver(trained).apply(CancelRequested{"me"}).apply(CoordinatorRestarted{}), Phase::kCancelled,
                "cancelled: me");
  Driver untrained = training();
  untrained.apply(GangLost{1, "bad", RetryClass::kPermanent}).apply(GangEnded{1});
  EXPECT_EQ(untrained.state.phase, Phase::kFailed);
  EXPECT_EQ(untrained.action<WriteReport>(), nullptr) << "there is nothing to tell";
  Driver done = training(1, 0);
  done.apply(committed(1, 0, 5, true)).apply(TaskFinished{1, "train", "s0", ""}).apply(GangEnded{1});
  EXPECT_EQ(Driver(done).apply(ReportWritten{Status()}).state.ended_early(), "");
  expect_report(done.apply(CancelRequested{"late"}), Phase::kCancelled, "cancelled: late");
}

TEST(JobState, RestartOfTheCoordinatorGoesOn) {
  Driver d = training();
  d.apply(committed(1, 0, 5, false)).apply(CoordinatorRestarted{});
  ASSERT_NE(d.action<LaunchGang>(), nullptr);
  EXPECT_EQ(d.action<LaunchGang>()->attempt, 2u);
  EXPECT_EQ(d.state.restarts_used, 0) << "not the job's failure";

  Driver changed = training();
  changed.apply(committed(1, 0, 5, false)).apply(CoordinatorRestarted{GangChange{"{\"new\":1}", 8, 2, 7}});
  ASSERT_NE(changed.action<LaunchGang>(), nullptr);
  EXPECT_EQ(changed.action<LaunchGang>()->world, 8);
  EXPECT_EQ(changed.state.world_min, 2);
  EXPECT_EQ(changed.state.recipe_json, "{\"new\":1}");
  EXPECT_EQ(changed.state.max_restarts, 7);
  EXPECT_EQ(changed.state.stages[0].step, 5) << "from its checkpoint";
  Driver waiting{new_job(), {}};
  waiting.apply(CoordinatorRestarted{GangChange{"{}", 8, 8, 2}});
  EXPECT_EQ(waiting.state.phase, Phase::kQueued);
  EXPECT_EQ(waiting.state.world, 8);
  Driver done = training();
  done.apply(GangLost{1, "bad", RetryClass::kPermanent}).apply(GangEnded{1});
  EXPECT_FALSE(transition(done.state, CoordinatorRestarted{GangChange{"{}", 8, 8, 2}}).changed);

  Driver preparing{new_job(), {}};
  preparing.apply(Scheduled{1}).apply(CoordinatorRestarted{});
  EXPECT_NE(preparing.action<Prepare>(), nullptr);

  Driver queued{new_job(), {}};
  EXPECT_FALSE(transition(queued.state, CoordinatorRestarted{}).changed);

  Driver cancelling = training();
  cancelling.apply(CancelRequested{"me"}).apply(CoordinatorRestarted{});
  EXPECT_EQ(cancelling.state.phase, Phase::kCancelled);
}

TEST(JobState, FailedPreparationFailsTheJob) {
  Driver d{new_job(), {}};
  d.apply(Scheduled{1}).apply(Prepared{Status(Code::kInvalidArgument, "no such folder"), ""});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
  EXPECT_EQ(d.state.reason, "no such folder");
  EXPECT_EQ(d.action<LaunchGang>(), nullptr);
}

TEST(JobState, MakesRoomWithACheckpointAndGoesOnFromIt) {
  Driver d = training();
  d.apply(Preempted{"urgent-1"});
  EXPECT_EQ(d.state.gang, GangPhase::kEnding);
  ASSERT_NE(d.action<StopGang>(), nullptr);
  EXPECT_TRUE(d.action<StopGang>()->may_commit);
  d.apply(committed(1, 0, 3, false));
  EXPECT_EQ(d.state.stages[0].step, 3);
  d.apply(GangEnded{1, 50});
  EXPECT_EQ(d.state.phase, Phase::kQueued);
  EXPECT_EQ(d.state.queued_unix_ms, 50);
  EXPECT_EQ(d.state.restarts_total, 0);
  EXPECT_FALSE(transition(d.state, committed(1, 0, 4, false)).changed);
  d.apply(Scheduled{60}).apply(Prepared{Status(), "{}"});
  EXPECT_EQ(d.state.started_unix_ms, 2);
  EXPECT_EQ(d.state.slots_unix_ms, 60);
  EXPECT_EQ(d.action<LaunchGang>()->attempt, 2u);
  d.apply(GangUp{2});
  EXPECT_TRUE(d.action<SendTrain>()->resume);
  EXPECT_EQ(d.action<SendTrain>()->start_step, 3);
}

TEST(JobState, HostsThatAreTakenBackCostACheckpointAndNoRestart) {
  Driver d = training();
  EXPECT_FALSE(transition(d.state, HostsWithdrawn{7, "another attempt's"}).changed);
  d.apply(HostsWithdrawn{1, "Slurm takes the hosts back"});
  EXPECT_EQ(d.state.gang, GangPhase::kEnding);
  ASSERT_NE(d.action<StopGang>(), nullptr);
  EXPECT_TRUE(d.action<StopGang>()->may_commit);
  EXPECT_FALSE(transition(d.state, HostsWithdrawn{1, "told twice"}).changed);
  d.apply(committed(1, 0, 3, false)).apply(GangEnded{1, 50});
  EXPECT_EQ(d.state.phase, Phase::kQueued);
  EXPECT_EQ(d.state.restarts_total, 0);
  d.apply(Scheduled{60}).apply(Prepared{Status(), "{}"}).apply(GangUp{2});
  EXPECT_EQ(d.action<SendTrain>()->start_step, 3);
}

TEST(JobState, AnElasticJobStartsWithTheRanksThatItIsGiven) {
  Driver d{new_job(), {}};
  d.apply(Scheduled{2, 2, 4});
  EXPECT_EQ(d.state.slots(), 2);
  EXPECT_EQ(d.state.world_reason, "no more slots were free when it was given them");
  d.apply(Prepared{Status(), "{}"});
  EXPECT_EQ(d.action<LaunchGang>()->world, 2);
  // Made room, and given all the next time.
  d.apply(GangUp{1}).apply(Preempted{"x"}).apply(GangEnded{1}).apply(Scheduled{3, 4, 4});
  EXPECT_EQ(d.state.world, 4);
  EXPECT_EQ(d.state.world_reason, "");
}

TEST(JobState, AResizeCommitsKeepsTheSlotsAndIsNoRestart) {
  Driver d{new_job(), {}};
  d.apply(Scheduled{2, 1, 4}).apply(Prepared{Status(), "{}"});
  EXPECT_FALSE(transition(d.state, ResizeRequested{2, 1}).changed) << "its ranks are not there yet";
  d.apply(GangUp{1});
  for (const int world : {1, 3, 8})
    EXPECT_FALSE(transition(d.state, ResizeRequested{world, 1}).changed) << world << " is no more, or not permitted";
  d.apply(ResizeRequested{2, 1});
  ASSERT_NE(d.action<StopGang>(), nullptr);
  EXPECT_TRUE(d.action<StopGang>()->may_commit);
  EXPECT_EQ(d.state.world, 1) << "whose checkpoint is still to come";
  EXPECT_EQ(d.state.slots(), 2);
  EXPECT_FALSE(transition(d.state, ResizeRequested{4, 1}).changed) << "one at a time";
  d.apply(committed(1, 0, 3, false)).apply(GangEnded{1, 50});
  EXPECT_EQ(d.state.phase, Phase::kTraining) << "not by way of the queue";
  ASSERT_NE(d.action<LaunchGang>(), nullptr);
  EXPECT_EQ(d.action<LaunchGang>()->attempt, 2u);
  EXPECT_EQ(d.action<LaunchGang>()->world, 2);
  EXPECT_EQ(d.state.restarts_total, 0);
  EXPECT_EQ(d.state.restarts_used, 0);
  EXPECT_EQ(d.state.slots_unix_ms, 2) << "the time limit goes on";
  EXPECT_EQ(d.state.world_reason, "no more slots came free");
  d.apply(GangUp{2});
  EXPECT_EQ(d.action<SendTrain>()->start_step, 3);
  d.apply(ResizeRequested{4, 2}).apply(CoordinatorRestarted{});
  EXPECT_EQ(d.action<LaunchGang>()->world, 4) << "what was decided is done";
}

TEST(JobState, WhatComesWhileAGangIsResizedDecidesWhereTheJobGoes) {
  const Driver resizing = Driver{new_job(), {}}
                              .apply(Scheduled{2, 1, 4})
                              .apply(Prepared{Status(), "{}"})
                              .apply(GangUp{1})
                              .apply(ResizeRequested{4, 1});
  const auto after = [&](const Event& event) { return Driver(resizing).apply(event).apply(GangEnded{1, 9}).state; };
  EXPECT_EQ(after(Preempted{"x"}).phase, Phase::kQueued);
  EXPECT_EQ(after(PauseRequested{}).phase, Phase::kPaused);
  EXPECT_EQ(after(CancelRequested{"x"}).phase, Phase::kCancelled);
  EXPECT_EQ(after(TimeLimitReached{}).phase, Phase::kFailed);
  EXPECT_EQ(after(GangLost{1, "late", RetryClass::kNewAttempt}).world, 4);
  EXPECT_EQ(Driver(resizing).apply(Preempted{"x"}).state.slots(), 1) << "what it wanted is free again";
}

TEST(JobState, AfterALossAnElasticJobTakesWhatIsLeft) {
  Driver d = training();
  d.apply(GangLost{1, "a host is gone", RetryClass::kNewAttempt}).apply(GangEnded{1});
  const Driver waiting = d;
  d.apply(BackoffElapsed{1, 2});
  EXPECT_EQ(d.action<LaunchGang>()->world, 2);
  EXPECT_EQ(d.state.restarts_total, 1) << "the loss was one";
  EXPECT_EQ(d.state.world_reason, "no more slots were left when it was started again");
  for (const int world : {0, 3, 8})
    EXPECT_EQ(Driver(waiting).apply(BackoffElapsed{1, world}).action<LaunchGang>()->world, 4) << world;
  EXPECT_EQ(training().apply(CoordinatorRestarted{.world = 1}).action<LaunchGang>()->world, 1);
  EXPECT_EQ(training().apply(CoordinatorRestarted{.change = GangChange{"{}", 8, 2, 3}, .world = 2}).state.world, 2);
}

TEST(JobState, PauseFreesTheSlotsUntilResume) {
  Driver d = training();
  d.apply(PauseRequested{}).apply(GangEnded{1, 5});
  EXPECT_EQ(d.state.phase, Phase::kPaused);
  EXPECT_FALSE(transition(d.state, CoordinatorRestarted{}).changed);
  EXPECT_FALSE(transition(d.state, Scheduled{6}).changed);
  d.apply(ResumeRequested{7});
  EXPECT_EQ(d.state.phase, Phase::kQueued);
  EXPECT_EQ(d.state.queued_unix_ms, 7);
  // While it waits in the queue; while the gang ends; and taken back before it has ended.
  EXPECT_EQ(transition(new_job(), PauseRequested{}).state.phase, Phase::kPaused);
  EXPECT_EQ(training().apply(Preempted{"x"}).apply(PauseRequested{}).apply(GangEnded{1}).state.phase, Phase::kPaused);
  EXPECT_EQ(training().apply(PauseRequested{}).apply(ResumeRequested{}).apply(GangEnded{1}).state.phase,
            Phase::kQueued);
  EXPECT_EQ(training().apply(PauseRequested{}).apply(CoordinatorRestarted{}).state.phase, Phase::kPaused);
}

TEST(JobState, CancelWinsOverMakingWay) {
  EXPECT_EQ(training().apply(PauseRequested{}).apply(CancelRequested{"x"}).apply(GangEnded{1}).state.phase,
            Phase::kCancelled);
  EXPECT_EQ(training().apply(PauseRequested{}).apply(GangEnded{1}).apply(CancelRequested{"x"}).state.phase,
            Phase::kCancelled);
  EXPECT_FALSE(transition(training().apply(CancelRequested{"x"}).state, PauseRequested{}).changed);
}

TEST(JobState, ATimeLimitCommitsThenFails) {
  Driver d = training();
  d.apply(TimeLimitReached{});
  EXPECT_TRUE(d.action<StopGang>()->may_commit);
  d.apply(committed(1, 0, 2, false)).apply(GangEnded{1});
  EXPECT_EQ(d.state.phase, Phase::kReporting);
  d.apply(ReportWritten{Status()});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
  EXPECT_NE(d.state.reason.find("time limit"), std::string::npos) << d.state.reason;
  EXPECT_EQ(d.state.yield, Yield::kNone);
}

TEST(JobState, AFailedDependencyFailsAQueuedJobOnly) {
  Driver d{new_job(), {}};
  d.apply(DependencyFailed{"job a-1 failed"});
  EXPECT_EQ(d.state.phase, Phase::kFailed);
  EXPECT_EQ(d.state.reason, "job a-1 failed");
  EXPECT_FALSE(transition(training().state, DependencyFailed{"x"}).changed);
}

// A world that answers actions with events, some late, some lost with the gang, and that throws in failures, stale
// messages, cancels and restarts of the coordinator.
class World {
 public:
  explicit World(uint64_t seed) : seed_(seed), d_{new_job(1 + below(3), below(3), below(4)), {}} {
    for (StagePlan& plan : d_.state.plan)  // of four steps
      for (const std::string& bench : plan.benches)
        if (below(2) == 0) plan.every[bench] = 1 + below(3);
    pending_.push_back(scheduled());
  }

  bool run(std::string* problem) {
    for (steps_ = 0; steps_ < 4000 && !is_final(d_.state.phase); ++steps_) {
      disturb();
      if (pending_.empty() && script_.empty() && d_.state.phase == Phase::kPaused)
        pending_.push_back(ResumeRequested{wall()});
      if (pending_.empty() && script_.empty() && d_.state.phase == Phase::kQueued) pending_.push_back(scheduled());
      if (pending_.empty() && !invent()) {
        *problem = "stuck in " + std::string(phase_name(d_.state.phase)) + ", gang " +
                   std::string(gang_phase_name(d_.state.gang));
        return false;
      }
      const size_t at = below(static_cast<int>(pending_.size()));
      const Event event = pending_[at];
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(at));
      if (!step(event, problem)) return false;
    }
    if (!is_final(d_.state.phase)) *problem = "did not end";
    return is_final(d_.state.phase);
  }
  int resizes() const { return resizes_; }

 private:
  int below(int n) { return static_cast<int>(random_below(static_cast<uint64_t>(n), {seed_, ++draws_})); }

  // With some of the ranks that it wants.
  Scheduled scheduled() { return {wall(), 1 << below(3), 4}; }

  // The wall clock is set forwards and back, by years, between any two events.
  int64_t wall() {
    if (below(3) == 0) wall_ms_ += (below(2) == 0 ? 1 : -1) * int64_t{below(1'000'000)} * 100'000;
    return wall_ms_ += below(1000);
  }

  bool step(const Event& event, std::string* problem) {
    const JobState before = d_.state;
    if (const auto* ended = std::get_if<GangEnded>(&event); ended != nullptr && ended->attempt == live_ && dying_) {
      live_ = 0;
      dying_ = false;
    }
    d_.apply(event);
    const JobState& now = d_.state;
    if (const auto* commit = std::get_if<CheckpointCommitted>(&event))
      if (now.stages[before.stage].checkpoint == commit->name &&
          before.stages[before.stage].checkpoint != commit->name &&
          (commit->attempt != live_ || commit->attempt != before.attempt)) {
        *problem = "accepted a commit of a fenced attempt";
        return false;
      }
    const bool given = std::holds_alternative<Scheduled>(event);
    const bool ended_to_resize =
        before.yield == Yield::kToResize &&
        (std::holds_alternative<GangEnded>(event) || std::holds_alternative<CoordinatorRestarted>(event));
    if (now.world > before.world && !given && !ended_to_resize) *problem = "got ranks that it was not given";
    if (ended_to_resize && now.restarts_total != before.restarts_total) *problem = "a resize counted as a restart";
    if (!now.permits(now.world)) *problem = "a number of ranks that is not permitted";
    if (now.yield == Yield::kToResize && !now.permits(now.resize_world)) *problem = "resizes to what is not permitted";
    resizes_ += ended_to_resize && now.attempt > before.attempt ? 1 : 0;
    if (before.started_unix_ms != 0 && now.started_unix_ms != before.started_unix_ms) *problem = "started twice";
    if (now.attempt < before.attempt) *problem = "the attempt went back";
    if (now.work == Work::kTrain && before.work != Work::kTrain && !now.next_bench().empty())
      *problem = "training goes on before a bench of its checkpoint was run";
    if (before.cancel_requested && now.phase == Phase::kDone && before.phase != Phase::kDone)
      *problem = "a cancelled job was done";
    for (const Action& action : d_.actions)
      if (!carry_out(action, problem)) return false;
    return problem->empty();
  }

  bool carry_out(const Action& action, std::string* problem) {
    if (const auto* launch = std::get_if<LaunchGang>(&action)) {
      if (live_ != 0) {
        *problem = "two live attempts";
        return false;
      }
      if (launch->world != d_.state.world) *problem = "launches other ranks than it has slots for";
      live_ = launch->attempt;
      pending_.push_back(GangLaunched{live_, {1, 1, "", ""}});
      pending_.push_back(below(10) == 0 ? Event(GangLost{live_, "did not start", RetryClass::kNewAttempt})
                                        : Event(GangUp{live_}));
    }
    if (std::holds_alternative<Prepare>(action))
      pending_.push_back(Prepared{below(20) == 0 ? Status(Code::kInvalidArgument, "bad") : Status(), "{}"});
    if (const auto* train = std::get_if<SendTrain>(&action)) {
      const std::string& name = d_.state.plan[train->stage].name;
      for (int64_t s = train->start_step + 1; s <= 4; ++s) {
        script_.push_back(CheckpointCommitted{live_, name, s, name + "@" + std::to_string(s), s == 4});
        if (recipes::bench_runs_at(d_.state.plan[train->stage].every, s)) break;
      }
      script_.push_back(TaskFinished{live_, "train", name, ""});
    }
    if (const auto* evaluate = std::get_if<SendEvaluate>(&action))
      script_.push_back(TaskFinished{live_, "evaluate", d_.state.plan[evaluate->stage].name, evaluate->bench});
    if (const auto* score = std::get_if<ScoreBench>(&action))
      pending_.push_back(BenchScored{d_.state.plan[score->stage].name, score->bench,
                                     below(30) == 0 ? Status(Code::kCorruption, "bad") : Status(), "", score->step});
    if (std::holds_alternative<StopGang>(action) || std::holds_alternative<KillGang>(action)) {
      // Its last checkpoint, before or after its end is heard.
      const auto* stop = std::get_if<StopGang>(&action);
      if (stop != nullptr && stop->may_commit && !script_.empty() && below(2) == 0) pending_.push_back(script_.front());
      script_.clear();
      pending_.push_back(GangEnded{live_, wall()});
      dying_ = true;
    }
    if (const auto* report = std::get_if<WriteReport>(&action); report != nullptr && report->final)
      pending_.push_back(ReportWritten{below(10) == 0 ? Status(Code::kIo, "bad") : Status()});
    if (const auto* backoff = std::get_if<StartBackoff>(&action))
      pending_.push_back(BackoffElapsed{backoff->attempt, below(3) == 0 ? 1 << below(3) : 0});
    return true;
  }

  // What the gang does next, or a stopped gang's end.
  bool invent() {
    if (script_.empty()) return false;
    pending_.push_back(script_.front());
    script_.pop_front();
    return true;
  }

  void disturb() {
    if (!script_.empty() && below(2) == 0) invent();
    const int dice = below(60);
    if (dice == 0 && live_ != 0 && !dying_)
      pending_.push_back(GangLost{live_, "killed", below(12) == 0 ? RetryClass::kPermanent : RetryClass::kNewAttempt});
    if (dice == 1) pending_.push_back(CheckpointCommitted{live_ == 0 ? 1 : live_ - 1, "s0", 3, "stale", true});
    if (dice == 2 && d_.state.attempt > 1) pending_.push_back(GangEnded{d_.state.attempt - 1, wall()});
    if (dice == 3 && below(8) == 0) pending_.push_back(CancelRequested{"user"});
    if (dice == 4 && below(3) == 0) restart();
    if (dice == 5 && below(2) == 0) pending_.push_back(Preempted{"other"});
    if (dice == 6 && below(2) == 0) pending_.push_back(PauseRequested{});
    if (dice == 7 && below(12) == 0) pending_.push_back(TimeLimitReached{});
    if (dice == 8) pending_.push_back(ResumeRequested{wall()});
    if (dice == 9 && below(2) == 0) pending_.push_back(HostsWithdrawn{d_.state.attempt, "time limit"});
    if (dice >= 10 && dice < 13) pending_.push_back(ResizeRequested{1 << below(4), d_.state.world});
  }

  // Killed and started again: what was under way is forgotten. The gang is taken back, or its processes are ended first.
  void restart() {
    pending_.clear();
    if (live_ != 0 && !dying_ && may_adopt(d_.state) && below(2) == 0) {
      // The ranks say again what was not heard, and may say again what was.
      pending_.push_back(CoordinatorRestarted{.adopted = true});
      if (script_.empty() && d_.state.work == Work::kTrain)
        script_.push_back(TaskFinished{live_, "train", d_.state.plan[d_.state.stage].name, ""});
      if (script_.empty() && d_.state.work == Work::kEvaluate)
        script_.push_back(TaskFinished{live_, "evaluate", d_.state.plan[d_.state.stage].name, d_.state.work_bench});
      return;
    }
    script_.clear();
    live_ = 0;
    dying_ = false;
    pending_.push_back(d_.state.phase == Phase::kQueued ? Event(scheduled())
                                                        : Event(CoordinatorRestarted{.world = 1 << below(4)}));
  }

  const uint64_t seed_;
  uint64_t draws_ = 0;
  int64_t wall_ms_ = 1'700'000'000'000;
  Driver d_;
  std::deque<Event> pending_;  // heard in any order
  std::deque<Event> script_;   // what the ranks will say, in order
  uint32_t live_ = 0;          // attempt that has processes; 0: none
  bool dying_ = false;
  int steps_ = 0;
  int resizes_ = 0;
};

TEST(JobState, AnAdoptedGangGoesOnAndAnyOtherStartsAnew) {
  Driver d = training();
  EXPECT_FALSE(may_adopt(d.state)) << "where its processes are is not known";
  d.apply(GangLaunched{1, {7, 1, "m", "log"}}).apply(committed(1, 0, 5, false));
  ASSERT_TRUE(may_adopt(d.state));
  Driver other = d;
  other.apply(CoordinatorRestarted{});
  EXPECT_EQ(other.state.attempt, 2u);
  d.apply(CoordinatorRestarted{.adopted = true});
  EXPECT_TRUE(d.actions.empty());
  EXPECT_EQ(d.state.attempt, 1u);
  EXPECT_EQ(d.state.gang, GangPhase::kUp);
  EXPECT_EQ(d.state.work, Work::kTrain);
  // One that is told to end is not taken back.
  for (const Event& event : {Event(CancelRequested{"x"}), Event(PauseRequested{}), Event(Preempted{"y"})}) {
    Driver ending = d;
    EXPECT_FALSE(may_adopt(ending.apply(event).state)) << describe(event);
  }
}

TEST(JobState, RandomHistoriesKeepTheInvariants) {
  int resizes = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    std::string problem;
    World world(seed);
    ASSERT_TRUE(world.run(&problem)) << "seed " << seed << ": " << problem;
    resizes += world.resizes();
  }
  EXPECT_GT(resizes, 200);
}

TEST(JobState, EveryEventIsAcceptedInEveryState) {
  const std::vector<Event> events = {Scheduled{1, 2, 4},
                                     Prepared{Status(), "{}"},
                                     Prepared{Status(Code::kIo, "x"), ""},
                                     GangLaunched{1, {1, 1, "", ""}},
                                     GangUp{1},
                                     committed(1, 0, 1, false),
                                     committed(1, 0, 2, true),
                                     TaskFinished{1, "train", "s0", ""},
                                     TaskFinished{1, "evaluate", "s0", "b0"},
                                     BenchScored{"s0", "b0", Status(), ""},
                                     BenchScored{"s0", "b0", Status(Code::kIo, "x"), ""},
                                     BenchScored{"s0", "b0", Status(), "", 1},
                                     GangLost{1, "x", RetryClass::kNewAttempt},
                                     GangLost{1, "x", RetryClass::kPermanent},
                                     CancelRequested{"x"},
                                     Preempted{"x"},
                                     HostsWithdrawn{1, "x"},
                                     PauseRequested{},
                                     ResumeRequested{1},
                                     TimeLimitReached{},
                                     ResizeRequested{4, 2},
                                     DependencyFailed{"x"},
                                     GangEnded{1},
                                     ReportWritten{Status()},
                                     ReportWritten{Status(Code::kIo, "x")},
                                     BackoffElapsed{1},
                                     CoordinatorRestarted{},
                                     CoordinatorRestarted{.adopted = true}};
  // All states that five events reach; each event must leave a state in which phase and gang fit together.
  std::vector<JobState> frontier = {new_job(1, 1, 1)};  // on 2 of 4 ranks
  frontier[0].plan[0].every["b0"] = 1;
  int seen = 0;
  for (int depth = 0; depth < 5; ++depth) {
    std::vector<JobState> next;
    for (const JobState& state : frontier)
      for (const Event& event : events) {
        Transition t = transition(state, event);
        ++seen;
        if (is_final(state.phase)) {
          ASSERT_FALSE(t.changed) << describe(event) << " changed a job that had ended";
        }
        if (is_final(t.state.phase)) {
          ASSERT_EQ(t.state.gang, GangPhase::kNone) << describe(event);
        }
        if (t.state.phase == Phase::kQueued || t.state.phase == Phase::kPaused) {
          ASSERT_EQ(t.state.yield, Yield::kNone);
          ASSERT_EQ(t.state.work, Work::kNone);
        }
        if (t.state.phase == Phase::kQueued || t.state.phase == Phase::kPreparing || t.state.phase == Phase::kPaused) {
          ASSERT_EQ(t.state.gang, GangPhase::kNone);
        }
        if (!t.changed) {
          ASSERT_TRUE(t.actions.empty());
        }
        if (t.changed) next.push_back(std::move(t.state));
      }
    frontier = std::move(next);
  }
  EXPECT_GT(seen, 1000);
}

}  // namespace
}  // namespace tephra::coordinator
