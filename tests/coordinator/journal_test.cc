// What is proved: a job's record reads back as it was in every field, bad records are named, and what was put is there
// after a reopen.
#include "coordinator/journal.h"

#include <gtest/gtest.h>

#include <set>

#include "base/env.h"
#include "coordinator/journal.pb.h"
#include "tests/base/temp_dir.h"

namespace tephra::coordinator {
namespace {

JournaledJob full_job(const std::string& id, uint64_t order) {
  JournaledJob job;
  job.order = order;
  job.events = 3;
  JobState& s = job.state;
  s.id = id;
  s.user = "u\xff";  // not UTF-8
  s.recipe_json = "{}";
  s.recipe_name = "demo";
  s.plan = {{"a", "base", {"b1", "b2"}, {{"b1", 5}}}, {"c", "a", {}}};
  s.world = 4;
  s.threads_per_rank = 2;
  s.max_restarts = 7;
  s.phase = Phase::kEvaluating;
  s.gang = GangPhase::kUp;
  s.work = Work::kEvaluate;
  s.work_bench = "b2";
  s.stage = 0;
  s.stages = {{id + "/a@9", 9, true, {id + "/a@5", id + "/a@9"}, {{"b1", true}, {"b2", false}}, {7, 8}, {{"b1", 5}}},
              {}};
  s.prepared_json = "{\"x\":1}";
  s.attempt = 3;
  s.restarts_used = 1;
  s.restarts_total = 2;
  s.gang_record = {123, 456, "marker", "/logs", "hosts", "ab12"};
  s.cancel_requested = true;
  s.failing = true;
  s.retrying = true;
  s.reason = "why";
  s.retry = RetryClass::kNeedsOperator;
  s.cancel_reason = "enough";
  s.submitted_unix_ms = 1;
  s.started_unix_ms = 2;
  s.finished_unix_ms = 3;
  s.priority = -4;
  s.time_limit_ms = 5;
  s.after = {"demo-8", "demo-9"};
  s.yield = Yield::kToResize;
  s.world_min = 2;
  s.world_max = 8;
  s.resize_world = 8;
  s.world_reason = "so it is";
  s.queued_unix_ms = 6;
  s.slots_unix_ms = 7;
  return job;
}

void expect_equal(const JobState& a, const JobState& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.user, b.user);
  EXPECT_EQ(a.recipe_json, b.recipe_json);
  EXPECT_EQ(a.recipe_name, b.recipe_name);
  ASSERT_EQ(a.plan.size(), b.plan.size());
  ASSERT_EQ(a.stages.size(), b.stages.size());
  for (size_t i = 0; i < a.plan.size(); ++i) {
    EXPECT_EQ(a.plan[i].name, b.plan[i].name);
    EXPECT_EQ(a.plan[i].init, b.plan[i].init);
    EXPECT_EQ(a.plan[i].benches, b.plan[i].benches);
    EXPECT_EQ(a.plan[i].every, b.plan[i].every);
    EXPECT_EQ(a.stages[i].checkpoint, b.stages[i].checkpoint);
    EXPECT_EQ(a.stages[i].step, b.stages[i].step);
    EXPECT_EQ(a.stages[i].complete, b.stages[i].complete);
    EXPECT_EQ(a.stages[i].checkpoints, b.stages[i].checkpoints);
    EXPECT_EQ(a.stages[i].gave_way, b.stages[i].gave_way);
    EXPECT_EQ(a.stages[i].bench_done, b.stages[i].bench_done);
    EXPECT_EQ(a.stages[i].bench_step, b.stages[i].bench_step);
  }
  EXPECT_EQ(a.world, b.world);
  EXPECT_EQ(a.threads_per_rank, b.threads_per_rank);
  EXPECT_EQ(a.max_restarts, b.max_restarts);
  EXPECT_EQ(a.phase, b.phase);
  EXPECT_EQ(a.gang, b.gang);
  EXPECT_EQ(a.work, b.work);
  EXPECT_EQ(a.work_bench, b.work_bench);
  EXPECT_EQ(a.stage, b.stage);
  EXPECT_EQ(a.prepared_json, b.prepared_json);
  EXPECT_EQ(a.attempt, b.attempt);
  EXPECT_EQ(a.restarts_used, b.restarts_used);
  EXPECT_EQ(a.restarts_total, b.restarts_total);
  EXPECT_EQ(a.gang_record.pid, b.gang_record.pid);
  EXPECT_EQ(a.gang_record.start_ticks, b.gang_record.start_ticks);
  EXPECT_EQ(a.gang_record.marker, b.gang_record.marker);
  EXPECT_EQ(a.gang_record.log_dir, b.gang_record.log_dir);
  EXPECT_EQ(a.gang_record.token_sha256, b.gang_record.token_sha256);
  EXPECT_EQ(a.gang_record.launcher, b.gang_record.launcher);
  EXPECT_EQ(a.cancel_requested, b.cancel_requested);
  EXPECT_EQ(a.failing, b.failing);
  EXPECT_EQ(a.retrying, b.retrying);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.retry, b.retry);
  EXPECT_EQ(a.cancel_reason, b.cancel_reason);
  EXPECT_EQ(a.submitted_unix_ms, b.submitted_unix_ms);
  EXPECT_EQ(a.started_unix_ms, b.started_unix_ms);
  EXPECT_EQ(a.finished_unix_ms, b.finished_unix_ms);
  EXPECT_EQ(a.priority, b.priority);
  EXPECT_EQ(a.time_limit_ms, b.time_limit_ms);
  EXPECT_EQ(a.after, b.after);
  EXPECT_EQ(a.yield, b.yield);
  EXPECT_EQ(a.world_min, b.world_min);
  EXPECT_EQ(a.world_max, b.world_max);
  EXPECT_EQ(a.resize_world, b.resize_world);
  EXPECT_EQ(a.world_reason, b.world_reason);
  EXPECT_EQ(a.queued_unix_ms, b.queued_unix_ms);
  EXPECT_EQ(a.slots_unix_ms, b.slots_unix_ms);
}

TEST(Journal, RecordsReadBackInEveryField) {
  const JournaledJob job = full_job("demo-1", 5);
  const Result<JournaledJob> back = decode_job(encode(job));
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->order, 5u);
  EXPECT_EQ(back->events, 3u);
  expect_equal(back->state, job.state);
}

TEST(Journal, ARecordOfBeforeJobsWereElasticHasAllItsRanks) {
  v1::JobRecord record;
  ASSERT_TRUE(record.ParseFromString(encode(full_job("demo-1", 1))));
  record.clear_world_min();
  record.clear_world_max();
  const Result<JournaledJob> back = decode_job(record.SerializeAsString());
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  EXPECT_EQ(back->state.world_min, 4);
  EXPECT_EQ(back->state.world_max, 4);
}

TEST(Journal, NamesWhatIsWrongWithARecord) {
  EXPECT_EQ(decode_job("\xff\xff\xff").status().code(), Code::kCorruption);
  v1::JobRecord record;
  ASSERT_TRUE(record.ParseFromString(encode(full_job("demo-1", 1))));
  v1::JobRecord later = record;
  later.set_version(2);
  EXPECT_EQ(decode_job(later.SerializeAsString()).status().code(), Code::kUnsupported);
  v1::JobRecord stage = record;
  stage.set_stage(2);
  EXPECT_NE(decode_job(stage.SerializeAsString()).status().message().find("stage is out of range"), std::string::npos);
  v1::JobRecord phase = record;
  phase.clear_phase();
  EXPECT_NE(decode_job(phase.SerializeAsString()).status().message().find("phase is out of range"), std::string::npos);
}

TEST(Journal, KeepsJobsInOrderAndTheirEventsOverAReopen) {
  TempDir dir;
  {
    auto store = storage::Store::open(Env::posix(), dir / "store", storage::OpenMode::kReadWrite);
    ASSERT_TRUE(store.ok()) << store.status().to_string();
    Journal journal(**store);
    for (uint64_t order = 1; order <= 12; ++order) {
      JournaledJob job = full_job("demo-" + std::to_string(order), order);
      job.events = 1;
      ASSERT_TRUE(journal.put(job, Submitted{5}, 100).ok());
      job.events = 2;
      job.state.phase = Phase::kFailed;
      ASSERT_TRUE(journal.put(job, GangLost{1, "rank 1 died", RetryClass::kPermanent}, 200).ok());
    }
  }
  auto store = storage::Store::open(Env::posix(), dir / "store", storage::OpenMode::kReadWrite);
  ASSERT_TRUE(store.ok()) << store.status().to_string();
  Journal journal(**store);
  const auto jobs = journal.load();
  ASSERT_TRUE(jobs.ok()) << jobs.status().to_string();
  ASSERT_EQ(jobs->size(), 12u);
  for (uint64_t i = 0; i < 12; ++i)
    EXPECT_EQ((*jobs)[i].state.id, "demo-" + std::to_string(i + 1)) << "by submission, not by name";
  EXPECT_EQ(jobs->front().state.phase, Phase::kFailed);
  JournaledJob live = full_job("demo-13", 13);
  ASSERT_TRUE(journal.put(live, Submitted{5}, 300).ok());
  std::set<uint64_t> ended;
  const auto unfinished = journal.load_unfinished([&](const JournaledJob& job) {
    ended.insert(job.order);
    return ok_status();
  });
  ASSERT_TRUE(unfinished.ok()) << unfinished.status().to_string();
  ASSERT_EQ(unfinished->size(), 1u);
  EXPECT_EQ(unfinished->front().state.id, "demo-13");
  EXPECT_EQ(ended.size(), 12u);
  EXPECT_EQ(journal.load_unfinished([](const JournaledJob&) { return Status(Code::kBusy, "no"); }).status().code(),
            Code::kBusy);
  EXPECT_EQ(journal.get("demo-1")->state.recipe_json, "{}");
  EXPECT_EQ(journal.get("demo-99").status().code(), Code::kNotFound);
  EXPECT_EQ(jobs->front().state.world_max, 8);
  const auto events = journal.events("demo-1");
  ASSERT_TRUE(events.ok());
  ASSERT_EQ(events->size(), 2u) << "demo-1's only, not demo-10's";
  EXPECT_EQ((*events)[0].name, "submitted");
  EXPECT_EQ((*events)[1].number, 2u);
  EXPECT_EQ((*events)[1].text, "attempt 1: gang lost: rank 1 died");
  EXPECT_EQ((*events)[1].unix_ms, 200);
  EXPECT_EQ((*events)[1].phase_after, Phase::kFailed);
  EXPECT_EQ((*events)[1].world_after, 4);
}

}  // namespace
}  // namespace tephra::coordinator
