// What is proved: the table of who starts, waits and makes room; and over thousands of random queues that slots are
// never given twice, that every job gets its turn, and that no back-fill delays a reserved start.
#include "coordinator/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/random.h"

namespace tephra::coordinator {
namespace {

constexpr int64_t kMinute = 60 * 1000;
constexpr int64_t kNow = 1000 * kMinute;

// A queue built line by line; `order` and `id` follow the line.
struct Queue {
  SchedulerInput input{.options = {.slots = 4, .user_slots = 0, .age_ms = 0}, .now_ms = kNow};

  QueuedJob& wants(const std::string& id, int slots, int64_t minutes = 0, const std::string& user = "ann") {
    input.queued.push_back({.id = id,
                            .user = user,
                            .slots = slots,
                            .order = input.queued.size() + 1,
                            .queued_ms = kNow,
                            .time_limit_ms = minutes * kMinute});
    return input.queued.back();
  }
  RunningJob& runs(const std::string& id, int slots, int64_t minutes_left = 0, const std::string& user = "ann") {
    input.running.push_back({.id = id, .user = user, .slots = slots, .started_ms = kNow - 10 * kMinute});
    if (minutes_left > 0) input.running.back().time_limit_ms = (10 + minutes_left) * kMinute;
    return input.running.back();
  }

  std::vector<std::string> started() const {
    std::vector<std::string> ids;
    for (const Grant& grant : decide(input).start) ids.push_back(input.queued[grant.job].id);
    return ids;
  }
  std::vector<Grant> grown() const { return decide(input).grow; }
  std::vector<std::string> preempted() const {
    std::vector<std::string> ids;
    for (const size_t i : decide(input).preempt) ids.push_back(input.running[i].id);
    return ids;
  }
  std::vector<int> slots_given() const {
    std::vector<int> slots;
    for (const Grant& grant : decide(input).start) slots.push_back(grant.slots);
    return slots;
  }
  Wait wait(size_t index) const { return decide(input).waits[index]; }
};

using Ids = std::vector<std::string>;

TEST(Scheduler, GivesAGangAllItsSlotsOrNone) {
  Queue queue;
  queue.wants("a", 3);
  queue.wants("b", 2);
  EXPECT_EQ(queue.started(), Ids{"a"});
  EXPECT_EQ(queue.wait(1).why, Wait::Why::kSlots);
  EXPECT_EQ(queue.wait(1).position, 1);
}

TEST(Scheduler, AJobLargerThanTheMachineRunsAlone) {
  Queue queue;
  queue.wants("large", 9);
  EXPECT_EQ(queue.started(), Ids{"large"});
  queue.runs("small", 1);
  EXPECT_EQ(queue.started(), Ids{});
}

TEST(Scheduler, HigherPriorityGoesFirst) {
  Queue queue;
  queue.wants("a", 4);
  queue.wants("b", 4).priority = 1;
  EXPECT_EQ(queue.started(), Ids{"b"});
  EXPECT_EQ(queue.wait(0).position, 1);
}

TEST(Scheduler, WaitingRaisesAJobPastLaterOnesOfHigherPriority) {
  Queue queue;
  queue.input.options.age_ms = 60 * kMinute;
  queue.wants("old", 4).queued_ms = kNow - 121 * kMinute;
  queue.wants("new", 4).priority = 1;
  EXPECT_EQ(queue.started(), Ids{"old"});
}

TEST(Scheduler, TheUserWithLeastUseGoesFirstThenUsersTakeTurns) {
  Queue queue;
  queue.input.usage = {{"ann", 100.0}};
  queue.wants("a1", 1, 10, "ann");
  queue.wants("a2", 1, 10, "ann");
  queue.wants("b1", 1, 10, "bob");
  queue.wants("b2", 1, 10, "bob");
  EXPECT_EQ(queue.started(), (Ids{"b1", "a1", "b2", "a2"}));
}

TEST(Scheduler, AUserLimitHoldsBackThatUserOnly) {
  Queue queue;
  queue.input.options.user_slots = 2;
  queue.runs("r", 2, 0, "ann");
  queue.wants("a", 1, 0, "ann");
  queue.wants("b", 2, 0, "bob");
  EXPECT_EQ(queue.started(), Ids{"b"});
  EXPECT_EQ(queue.wait(0).why, Wait::Why::kUserLimit);
}

TEST(Scheduler, AJobAboveTheUserLimitRunsWhenTheUserHasNothingElse) {
  Queue queue;
  queue.input.options.user_slots = 2;
  queue.wants("a", 3);
  EXPECT_EQ(queue.started(), Ids{"a"});
}

TEST(Scheduler, BackfillsWhatEndsBeforeTheReservedStart) {
  Queue queue;
  queue.runs("r", 3, 30);
  queue.wants("head", 4);
  queue.wants("long", 1, 31);
  queue.wants("short", 1, 30);
  EXPECT_EQ(queue.started(), Ids{"short"});
  EXPECT_EQ(queue.wait(0).start_ms, kNow + 30 * kMinute);
  EXPECT_EQ(queue.wait(1).why, Wait::Why::kBehind);
  EXPECT_EQ(queue.wait(1).other, "head");
}

TEST(Scheduler, BackfillsWithoutALimitOnlyWhatTheReservedJobDoesNotNeed) {
  Queue queue;
  queue.runs("r", 3, 30);
  queue.wants("head", 3);
  queue.wants("b", 1);
  EXPECT_EQ(queue.started(), Ids{"b"});
  queue.input.queued[0].slots = 4;
  EXPECT_EQ(queue.started(), Ids{});
}

TEST(Scheduler, NothingGoesAheadWhenTheReservedStartIsNotKnown) {
  Queue queue;
  queue.runs("r", 3);
  queue.wants("head", 4);
  queue.wants("short", 1, 1);
  EXPECT_EQ(queue.started(), Ids{});
  EXPECT_FALSE(queue.wait(0).start_ms.has_value());
}

TEST(Scheduler, PreemptsTheFewestOfTheLowestPriorityTheLatestFirst) {
  Queue queue;
  queue.runs("one", 1);
  queue.runs("later", 1).started_ms = kNow - kMinute;
  queue.runs("large", 2).priority = 1;
  queue.wants("urgent", 1).priority = 2;
  EXPECT_EQ(queue.preempted(), Ids{"later"});
  queue.input.queued[0].slots = 2;
  EXPECT_EQ(queue.preempted(), (Ids{"later", "one"}));
  queue.input.queued[0].slots = 3;  // with "large", one of the small ones is enough
  EXPECT_EQ(queue.preempted().size(), 2u);
}

TEST(Scheduler, PreemptsNothingInVain) {
  Queue queue;
  queue.runs("low", 1);
  queue.runs("equal", 3).priority = 2;
  queue.wants("urgent", 2).priority = 2;
  EXPECT_EQ(queue.preempted(), Ids{});
  queue.input.running[1].priority = 0;
  queue.input.running[1].preemptible = false;
  EXPECT_EQ(queue.preempted(), Ids{});
}

TEST(Scheduler, WaitsForWhatStopsAlreadyAndGivesItsSlotsToNobodyElse) {
  Queue queue;
  queue.runs("going", 2).stopping = true;
  queue.runs("low", 1);
  queue.wants("urgent", 3).priority = 2;
  queue.wants("short", 1, 1);
  EXPECT_EQ(queue.preempted(), Ids{});
  EXPECT_EQ(queue.started(), Ids{});
  EXPECT_EQ(queue.wait(0).start_ms, kNow);
}

TEST(Scheduler, WaitingNeverMakesAJobPreempt) {
  Queue queue;
  queue.input.options.age_ms = kMinute;
  queue.runs("r", 4);
  queue.wants("old", 1).queued_ms = 0;
  EXPECT_EQ(queue.preempted(), Ids{});
}

TEST(Scheduler, AnElasticGangStartsWithTheMostThatIsFree) {
  struct Case {
    int slots, least, taken, lost, given;  // 0 given: it waits
  };
  for (const Case& c : {Case{4, 1, 0, 0, 4}, Case{4, 1, 1, 0, 2}, Case{4, 1, 2, 0, 2}, Case{4, 1, 3, 0, 1},
                        Case{4, 2, 3, 0, 0}, Case{4, 4, 1, 0, 0}, Case{4, 0, 1, 0, 0}, Case{8, 1, 0, 0, 4},
                        Case{4, 1, 0, 1, 2}, Case{4, 1, 1, 2, 1}, Case{4, 4, 0, 2, 4}, Case{8, 8, 0, 0, 8}}) {
    SCOPED_TRACE(std::to_string(c.slots) + " at least " + std::to_string(c.least) + ", taken " +
                 std::to_string(c.taken) + ", lost " + std::to_string(c.lost));
    Queue queue;
    queue.input.lost_slots = c.lost;
    if (c.taken > 0) queue.runs("r", c.taken);
    queue.wants("a", c.slots).slots_min = c.least;
    EXPECT_EQ(queue.slots_given(), c.given > 0 ? std::vector<int>{c.given} : std::vector<int>{});
    EXPECT_EQ(queue.wait(0).why, c.given > 0 ? Wait::Why::kNone : Wait::Why::kSlots);
  }
}

TEST(Scheduler, AnElasticGangIsReservedAndGivenRoomForItsLeast) {
  Queue queue;
  queue.runs("r", 3, 30);
  queue.runs("low", 1, 60).started_ms += kMinute;
  queue.wants("a", 4).slots_min = 2;
  EXPECT_EQ(queue.wait(0).start_ms, kNow + 30 * kMinute);
  queue.input.queued[0].priority = 1;
  EXPECT_EQ(queue.preempted(), Ids{"r"});
  queue.input.queued[0].slots_min = 1;
  EXPECT_EQ(queue.preempted(), Ids{"low"}) << "one slot is enough";
}

TEST(Scheduler, AnElasticGangGoesAheadWithWhatTheReservedJobLeaves) {
  Queue queue;
  queue.runs("r", 2, 30);
  queue.wants("head", 3);
  queue.wants("a", 2).slots_min = 1;
  EXPECT_EQ(queue.slots_given(), std::vector<int>{1}) << "two would keep the head from its start";
  queue.input.queued[1].time_limit_ms = 30 * kMinute;
  EXPECT_EQ(queue.slots_given(), std::vector<int>{2});
}

TEST(Scheduler, AUserLimitMakesAnElasticGangSmaller) {
  Queue queue;
  queue.input.options.user_slots = 3;
  queue.wants("a", 4).slots_min = 1;
  EXPECT_EQ(queue.slots_given(), std::vector<int>{2});
  queue.input.queued[0].slots_min = 4;
  EXPECT_EQ(queue.slots_given(), std::vector<int>{4}) << "the user has nothing else";
}

TEST(Scheduler, GrowsElasticGangsIntoSlotsThatNobodyWaitsFor) {
  Queue queue;
  queue.runs("one", 1).slots_max = 4;
  EXPECT_EQ(queue.grown(), (std::vector<Grant>{{0, 4}}));
  queue.runs("other", 1);
  EXPECT_EQ(queue.grown(), (std::vector<Grant>{{0, 2}}));
  queue.input.lost_slots = 2;
  EXPECT_EQ(queue.grown(), std::vector<Grant>{});
  queue.input.lost_slots = 0;
  queue.input.running[0].stopping = true;
  EXPECT_EQ(queue.grown(), std::vector<Grant>{}) << "it makes room";
  queue.input.running[0].stopping = false;
  queue.input.running[0].slots_max = 0;
  EXPECT_EQ(queue.grown(), std::vector<Grant>{}) << "it was given its ranks a moment ago";
  queue.input.running[0].slots_max = 4;
  queue.wants("waits", 4);
  EXPECT_EQ(queue.grown(), std::vector<Grant>{});
  queue.input.queued[0].slots = 2;  // fits: what it leaves is not enough to grow
  EXPECT_EQ(queue.started(), Ids{"waits"});
  EXPECT_EQ(queue.grown(), std::vector<Grant>{});
  queue.input.queued[0].after = {{"x", DependencyState::kUnfinished}};
  EXPECT_EQ(queue.grown(), (std::vector<Grant>{{0, 2}})) << "it waits for another job, not for slots";
}

TEST(Scheduler, GrowsHigherPriorityThenTheEarlierStartedFirst) {
  Queue queue;
  queue.runs("later", 1).slots_max = 2;
  queue.runs("earlier", 1).slots_max = 2;
  queue.runs("r", 1);
  queue.input.running[1].started_ms -= kMinute;
  EXPECT_EQ(queue.grown(), (std::vector<Grant>{{1, 2}}));
  queue.input.running[0].priority = 1;
  EXPECT_EQ(queue.grown(), (std::vector<Grant>{{0, 2}}));
  queue.input.options.user_slots = 3;
  EXPECT_EQ(queue.grown(), std::vector<Grant>{}) << "they are one user's, who holds as many as one may";
}

TEST(Scheduler, WhatALostGangGoesOnWith) {
  EXPECT_EQ(most_that_fits(4, 1, 5), 4);
  EXPECT_EQ(most_that_fits(4, 1, 3), 2);
  EXPECT_EQ(most_that_fits(4, 1, 1), 1);
  EXPECT_EQ(most_that_fits(4, 1, -2), 1) << "never less than its least";
  EXPECT_EQ(most_that_fits(4, 4, 1), 4);
  EXPECT_EQ(most_that_fits(6, 3, 5), 3) << "three threads a rank";
}

TEST(Scheduler, DependenciesHoldBackAndFail) {
  Queue queue;
  queue.wants("a", 1).after = {{"x", DependencyState::kDone}, {"y", DependencyState::kUnfinished}};
  queue.wants("b", 1).after = {{"y", DependencyState::kUnfinished}, {"z", DependencyState::kFailed}};
  queue.wants("c", 1).after = {{"x", DependencyState::kDone}};
  EXPECT_EQ(queue.started(), Ids{"c"});
  EXPECT_EQ(queue.wait(0).why, Wait::Why::kDependency);
  EXPECT_EQ(queue.wait(0).other, "y");
  EXPECT_EQ(queue.wait(0).position, 0);
  EXPECT_EQ(queue.wait(1).why, Wait::Why::kFailedDependency);
  EXPECT_EQ(queue.wait(1).other, "z");
  EXPECT_EQ(queue.wait(2).position, 0);
}

TEST(Scheduler, SaysWhyAJobWaits) {
  EXPECT_EQ(describe({}, kNow), "");
  EXPECT_EQ(describe({.why = Wait::Why::kSlots, .start_ms = kNow + 90 * kMinute}, kNow),
            "waits for slots, at most 1 h 30 min");
  EXPECT_EQ(describe({.why = Wait::Why::kSlots, .start_ms = kNow}, kNow), "waits for slots, which are due now");
  EXPECT_EQ(describe({.why = Wait::Why::kBehind, .other = "demo-1"}, kNow),
            "waits behind job demo-1, which gets the next slots");
  EXPECT_EQ(describe({.why = Wait::Why::kDependency, .other = "demo-1"}, kNow), "waits for job demo-1 to be done");
}

TEST(UsageBook, ChargesAndHalves) {
  UsageBook book(1000);
  const std::vector<RunningJob> running = {{.id = "a", .user = "ann", .slots = 2}};
  book.advance(1000, running);
  EXPECT_TRUE(book.by_user().empty());
  book.advance(2000, running);
  EXPECT_DOUBLE_EQ(book.by_user().at("ann"), 2.0);
  book.advance(1500, running);  // the clock went back
  EXPECT_DOUBLE_EQ(book.by_user().at("ann"), 2.0);
  book.advance(2500, {});
  EXPECT_DOUBLE_EQ(book.by_user().at("ann"), 1.0);
  book.advance(60000, {});
  EXPECT_TRUE(book.by_user().empty());
}

// --- properties: a machine that carries the decisions out, minute by minute.
class Machine {
 public:
  Machine(uint64_t seed, bool one_user) : seed_(seed), one_user_(one_user) {
    input_.options = {.slots = 1 + below(12), .user_slots = below(3) == 0 ? 4 : 0, .age_ms = 30 * kMinute};
    if (one_user) input_.options.user_slots = 0;
    input_.now_ms = kNow;
  }

  // Jobs come for a while, then the queue has to run dry.
  void run() {
    constexpr int kComing = 60;
    for (int minute = 0; minute < 6000 && (minute < kComing || !input_.queued.empty() || !input_.running.empty());
         ++minute) {
      end_some();
      for (int n = minute < kComing ? below(3) : 0; n > 0; --n) arrive();
      usage_.advance(input_.now_ms, input_.running);
      input_.usage = usage_.by_user();
      ASSERT_NO_FATAL_FAILURE(carry_out(decide(input_)));
      input_.now_ms += kMinute;
    }
    ASSERT_TRUE(input_.queued.empty()) << input_.queued.size() << " jobs never ran";
  }
  int backfilled() const { return backfilled_; }
  int preempted() const { return preempted_; }
  int grown() const { return grown_; }

 private:
  int below(int n) { return static_cast<int>(random_below(static_cast<uint64_t>(n), {seed_, ++draws_})); }

  void arrive() {
    QueuedJob job;
    job.id = "j" + std::to_string(++jobs_);
    job.user = one_user_ ? "ann" : "u" + std::to_string(below(3));
    job.slots = 1 + below(input_.options.slots + 1);
    if (!one_user_ && job.slots % 4 == 0 && below(2) == 0) job.slots_min = job.slots / 4;
    job.priority = one_user_ ? 0 : below(3);
    job.order = jobs_;
    job.queued_ms = input_.now_ms;
    job.time_limit_ms = one_user_ || below(2) == 0 ? (1 + below(20)) * kMinute : 0;
    input_.queued.push_back(job);
  }

  // At its limit a job has ended; many end before it.
  void end_some() {
    std::erase_if(input_.running, [&](const RunningJob& job) {
      const bool over = job.time_limit_ms > 0 && job.started_ms + job.time_limit_ms <= input_.now_ms;
      if (job.stopping && below(2) == 0) {
        QueuedJob again{.id = job.id, .user = job.user, .slots = job.slots, .priority = job.priority};
        again.slots = std::max(job.slots, most_[job.id]);
        again.slots_min = least_[job.id];
        again.order = std::stoull(job.id.substr(1));
        again.queued_ms = input_.now_ms;
        again.time_limit_ms = job.time_limit_ms;
        input_.queued.push_back(again);
        return true;
      }
      return !job.stopping && (over || below(12) == 0);
    });
  }

  void carry_out(const Decision& decision) {
    ASSERT_EQ(decision.waits.size(), input_.queued.size());
    std::set<size_t> starts;
    for (const Grant& grant : decision.start) starts.insert(grant.job);
    ASSERT_EQ(starts.size(), decision.start.size()) << "a job was started twice";
    uint64_t first_waiting = 0;  // order of the one with the reservation
    for (size_t i = 0; i < input_.queued.size(); ++i) {
      const Wait& wait = decision.waits[i];
      ASSERT_EQ(wait.why == Wait::Why::kNone, starts.contains(i));
      if (wait.why == Wait::Why::kSlots) first_waiting = input_.queued[i].order;
      if (one_user_) check_reservation(input_.queued[i], wait);
    }
    for (const Grant& grant : decision.start)
      if (first_waiting != 0 && input_.queued[grant.job].order > first_waiting) ++backfilled_;
    for (const Grant& grant : decision.grow) {
      RunningJob& job = input_.running[grant.job];
      ASSERT_EQ(first_waiting, 0u) << "a gang grew while another job waited for slots";
      ASSERT_TRUE(grant.slots > job.slots && grant.slots <= job.slots_max && job.slots_max % grant.slots == 0);
      job.slots = grant.slots;
      ++grown_;
    }
    for (const size_t i : decision.preempt) {
      ASSERT_TRUE(input_.running[i].preemptible && !input_.running[i].stopping);
      input_.running[i].stopping = true;
      ++preempted_;
    }
    for (const Grant& grant : decision.start) {
      const QueuedJob& job = input_.queued[grant.job];
      if (job.slots_min > 0) {
        ASSERT_TRUE(grant.slots >= job.slots_min && job.slots % grant.slots == 0);
      } else {
        ASSERT_EQ(grant.slots, job.slots);
      }
      most_[job.id] = job.slots;
      least_[job.id] = job.slots_min;
      input_.running.push_back({.id = job.id,
                                .user = job.user,
                                .slots = grant.slots,
                                .slots_max = job.slots_min > 0 ? job.slots : 0,
                                .priority = job.priority,
                                .started_ms = input_.now_ms,
                                .time_limit_ms = job.time_limit_ms});
    }
    for (auto i = starts.rbegin(); i != starts.rend(); ++i)
      input_.queued.erase(input_.queued.begin() + static_cast<std::ptrdiff_t>(*i));
    int used = 0;
    for (const RunningJob& job : input_.running) used += std::min(job.slots, input_.options.slots);
    ASSERT_LE(used, input_.options.slots) << "slots were given twice";
  }

  // With one user and one priority nothing but a back-fill could delay a reserved start.
  void check_reservation(const QueuedJob& job, const Wait& wait) {
    const auto reserved = reserved_.find(job.id);
    if (reserved != reserved_.end() && wait.why != Wait::Why::kNone) {
      ASSERT_TRUE(wait.start_ms.has_value()) << job.id << " lost its reservation";
      ASSERT_LE(*wait.start_ms, reserved->second) << job.id << " was delayed";
    }
    if (reserved != reserved_.end()) {
      ASSERT_LE(input_.now_ms, reserved->second) << job.id << " started late";
    }
    if (wait.start_ms) reserved_[job.id] = *wait.start_ms;
  }

  const uint64_t seed_;
  const bool one_user_;
  uint64_t draws_ = 0;
  uint64_t jobs_ = 0;
  int backfilled_ = 0, preempted_ = 0, grown_ = 0;
  std::map<std::string, int> most_, least_;  // slots by job
  SchedulerInput input_;
  UsageBook usage_;
  std::map<std::string, int64_t> reserved_;
};

TEST(Scheduler, RandomQueuesNeverOvercommitAndRunDry) {
  int preempted = 0, grown = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Machine machine(seed, false);
    ASSERT_NO_FATAL_FAILURE(machine.run()) << "seed " << seed;
    preempted += machine.preempted();
    grown += machine.grown();
  }
  EXPECT_GT(preempted, 100);
  EXPECT_GT(grown, 100);
}

TEST(Scheduler, BackfillNeverDelaysAReservedStart) {
  int backfilled = 0;
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Machine machine(seed, true);
    ASSERT_NO_FATAL_FAILURE(machine.run()) << "seed " << seed;
    backfilled += machine.backfilled();
  }
  EXPECT_GT(backfilled, 100);
}

}  // namespace
}  // namespace tephra::coordinator
