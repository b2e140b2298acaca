#include "coordinator/slot_history.h"

#include <gtest/gtest.h>

#include "coordinator/scheduler.h"

namespace tephra::coordinator {
namespace {

JobState job(Phase phase, int64_t slots_at, int64_t ended_at) {
  JobState state;
  state.world = state.world_min = state.world_max = 2;
  state.threads_per_rank = 3;
  state.phase = phase;
  state.started_unix_ms = state.slots_unix_ms = slots_at;
  state.finished_unix_ms = ended_at;
  return state;
}

using Stretches = std::vector<SlotStretch>;

TEST(SlotHistory, OneStretchIsInTheRecord) {
  EXPECT_EQ(slot_stretches(job(Phase::kQueued, 0, 0), 50), Stretches{});
  EXPECT_EQ(slot_stretches(job(Phase::kDone, 10, 40), 50), (Stretches{{6, 10, 40}}));
  EXPECT_EQ(slot_stretches(job(Phase::kTraining, 10, 0), 50), (Stretches{{6, 10, 50}}));
  for (const Phase phase : {Phase::kDone, Phase::kTraining}) EXPECT_TRUE(record_tells_slots(job(phase, 10, 40)));
  EXPECT_TRUE(record_tells_slots(job(Phase::kQueued, 0, 0)));
}

TEST(SlotHistory, WhatMadeRoomOrWasResizedIsInTheEvents) {
  JobState again = job(Phase::kTraining, 10, 0);
  again.slots_unix_ms = 30;
  EXPECT_FALSE(record_tells_slots(again));
  JobState waited = job(Phase::kCancelled, 10, 90);
  waited.queued_unix_ms = 20;
  EXPECT_FALSE(record_tells_slots(waited)) << "it waited until it was cancelled";
  EXPECT_FALSE(record_tells_slots(job(Phase::kPaused, 10, 0)));
  JobState elastic = job(Phase::kDone, 10, 40);
  elastic.world_min = 1;
  EXPECT_FALSE(record_tells_slots(elastic));

  const auto event = [](int64_t unix_ms, Phase after, int world) {
    JournaledEvent e;
    e.unix_ms = unix_ms;
    e.phase_after = after;
    e.world_after = world;
    return e;
  };
  const std::vector<JournaledEvent> events = {event(5, Phase::kQueued, 2),     event(10, Phase::kPreparing, 1),
                                              event(12, Phase::kTraining, 1),  event(20, Phase::kTraining, 2),
                                              event(30, Phase::kQueued, 2),    event(40, Phase::kPreparing, 0),
                                              event(50, Phase::kReporting, 0), event(60, Phase::kDone, 0)};
  EXPECT_EQ(slot_stretches(elastic, events, 100), (Stretches{{3, 10, 20}, {6, 20, 30}, {6, 40, 60}}));
  EXPECT_EQ(slot_stretches(elastic, {events.begin(), events.begin() + 4}, 100), (Stretches{{3, 10, 20}, {6, 20, 100}}));
}

// What is recalled is what a coordinator that was not restarted would have.
TEST(SlotHistory, RecalledUseIsThatOfABookThatWentOn) {
  constexpr int64_t kHalfLife = 100'000;
  UsageBook kept(kHalfLife), recalled(kHalfLife);
  const std::vector<RunningJob> running = {{.id = "a", .user = "ann", .slots = 3}};
  for (int64_t now = 1000; now <= 400'000; now += 100)
    kept.advance(now, now <= 250'000 ? running : std::vector<RunningJob>{});
  recalled.recall("ann", 3, 400'000 - 1000, 400'000 - 250'000);
  EXPECT_NEAR(recalled.by_user().at("ann"), kept.by_user().at("ann"), 0.002 * kept.by_user().at("ann"));
  UsageBook none(kHalfLife);
  none.recall("ann", 3, -5000, -9000);  // the wall clock went back: the stretch is in the future
  none.recall("ann", 3, 1000, 2000);    // it was set forwards in between
  EXPECT_TRUE(none.by_user().empty());
}

}  // namespace
}  // namespace tephra::coordinator
