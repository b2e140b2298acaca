#include "coordinator/journal.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/threads.h"
#include "coordinator/journal.pb.h"

namespace tephra::coordinator {
namespace {

namespace v1 = ::tephra::coordinator::v1;

constexpr uint32_t kVersion = 1;
constexpr size_t kBatchRecords = 4096;
constexpr int kDecodeThreads = 4;

v1::RetryRecord to_record(RetryClass retry) {
  switch (retry) {
    case RetryClass::kRetryHere: return v1::RETRY_HERE;
    case RetryClass::kNewAttempt: return v1::RETRY_NEW_ATTEMPT;
    case RetryClass::kNeedsOperator: return v1::RETRY_NEEDS_OPERATOR;
    case RetryClass::kPermanent: return v1::RETRY_PERMANENT;
  }
  return v1::RETRY_UNSPECIFIED;
}

RetryClass from_record(v1::RetryRecord retry) {
  switch (retry) {
    case v1::RETRY_HERE: return RetryClass::kRetryHere;
    case v1::RETRY_NEW_ATTEMPT: return RetryClass::kNewAttempt;
    case v1::RETRY_NEEDS_OPERATOR: return RetryClass::kNeedsOperator;
    default: return RetryClass::kPermanent;
  }
}

using BenchSteps = google::protobuf::RepeatedPtrField<v1::BenchStepRecord>;

void fill_steps(const std::map<std::string, int64_t>& steps, BenchSteps* records) {
  for (const auto& [bench, step] : steps) {
    v1::BenchStepRecord* record = records->Add();
    record->set_bench(bench);
    record->set_step(step);
  }
}

// A step that is not positive would divide by zero, and none was ever written.
std::map<std::string, int64_t> read_steps(const BenchSteps& records) {
  std::map<std::string, int64_t> steps;
  for (const v1::BenchStepRecord& record : records)
    if (record.step() > 0) steps[record.bench()] = record.step();
  return steps;
}

void fill_stages(const JobState& state, v1::JobRecord* record) {
  for (size_t i = 0; i < state.plan.size(); ++i) {
    v1::StagePlanRecord* plan = record->add_plan();
    plan->set_name(state.plan[i].name);
    plan->set_init(state.plan[i].init);
    for (const std::string& bench : state.plan[i].benches) plan->add_benches(bench);
    fill_steps(state.plan[i].every, plan->mutable_every());
    v1::StageStateRecord* stage = record->add_stages();
    stage->set_checkpoint(state.stages[i].checkpoint);
    stage->set_step(state.stages[i].step);
    stage->set_complete(state.stages[i].complete);
    for (const std::string& name : state.stages[i].checkpoints) stage->add_checkpoints(name);
    for (const int64_t step : state.stages[i].gave_way) stage->add_gave_way(step);
    for (const auto& [bench, done] : state.stages[i].bench_done)
      if (done) stage->add_benches_done(bench);
    fill_steps(state.stages[i].bench_step, stage->mutable_bench_steps());
  }
}

void read_stages(const v1::JobRecord& record, JobState* state) {
  for (int i = 0; i < record.plan_size(); ++i) {
    StagePlan plan{record.plan(i).name(), record.plan(i).init(), {}, read_steps(record.plan(i).every())};
    StageState stage;
    for (const std::string& bench : record.plan(i).benches()) {
      plan.benches.push_back(bench);
      stage.bench_done[bench] = false;
    }
    stage.checkpoint = record.stages(i).checkpoint();
    stage.step = record.stages(i).step();
    stage.complete = record.stages(i).complete();
    stage.checkpoints.assign(record.stages(i).checkpoints().begin(), record.stages(i).checkpoints().end());
    stage.gave_way.assign(record.stages(i).gave_way().begin(), record.stages(i).gave_way().end());
    for (const std::string& bench : record.stages(i).benches_done()) stage.bench_done[bench] = true;
    stage.bench_step = read_steps(record.stages(i).bench_steps());
    state->plan.push_back(std::move(plan));
    state->stages.push_back(std::move(stage));
  }
}

Status check(const v1::JobRecord& record) {
  const auto bad = [&record](const std::string& what) {
    return Status(Code::kCorruption, "journal: job record '" + record.id() + "': " + what);
  };
  if (record.version() != kVersion)
    return Status(Code::kUnsupported, "journal: job record '" + record.id() + "' has version " +
                                          std::to_string(record.version()) +
                                          ", this build reads 1; use the build that wrote it");
  if (record.id().empty()) return bad("no id");
  if (record.phase() == v1::PHASE_UNSPECIFIED || !v1::PhaseRecord_IsValid(record.phase()))
    return bad("phase is out of range");
  if (record.gang() == v1::GANG_PHASE_UNSPECIFIED || !v1::GangPhaseRecord_IsValid(record.gang()))
    return bad("gang is out of range");
  if (record.work() == v1::WORK_UNSPECIFIED || !v1::WorkRecord_IsValid(record.work()))
    return bad("work is out of range");
  if (!v1::YieldRecord_IsValid(record.yield())) return bad("yield is out of range");
  if (record.plan_size() == 0 || record.plan_size() != record.stages_size())
    return bad("plan and stages differ in number");
  if (record.stage() < 0 || record.stage() >= record.plan_size()) return bad("stage is out of range");
  if (record.world() < 1) return bad("world is out of range");
  if (record.world_min() < 0 || (record.world_max() != 0 && record.world_max() < record.world_min()))
    return bad("world_min and world_max are out of range");
  return ok_status();
}

std::string event_key(const std::string& job, uint64_t number) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%020llu", static_cast<unsigned long long>(number));
  return job + "/" + digits;
}

bool by_order(const JournaledJob& a, const JournaledJob& b) { return a.order < b.order; }

}  // namespace

std::string encode(const JournaledJob& job) {
  const JobState& s = job.state;
  v1::JobRecord record;
  record.set_version(kVersion);
  record.set_order(job.order);
  record.set_events(job.events);
  record.set_id(s.id);
  record.set_user(s.user);
  record.set_recipe_json(s.recipe_json);
  record.set_recipe_name(s.recipe_name);
  record.set_world(s.world);
  record.set_threads_per_rank(s.threads_per_rank);
  record.set_max_restarts(s.max_restarts);
  record.set_phase(static_cast<v1::PhaseRecord>(s.phase));
  record.set_gang(static_cast<v1::GangPhaseRecord>(s.gang));
  record.set_work(static_cast<v1::WorkRecord>(s.work));
  record.set_work_bench(s.work_bench);
  record.set_stage(s.stage);
  fill_stages(s, &record);
  record.set_prepared_json(s.prepared_json);
  record.set_attempt(s.attempt);
  record.set_restarts_used(s.restarts_used);
  record.set_restarts_total(s.restarts_total);
  if (s.gang_record.pid != 0) {
    record.mutable_gang_record()->set_pid(s.gang_record.pid);
    record.mutable_gang_record()->set_start_ticks(s.gang_record.start_ticks);
    record.mutable_gang_record()->set_marker(s.gang_record.marker);
    record.mutable_gang_record()->set_log_dir(s.gang_record.log_dir);
    record.mutable_gang_record()->set_token_sha256(s.gang_record.token_sha256);
    record.mutable_gang_record()->set_launcher(s.gang_record.launcher);
  }
  record.set_cancel_requested(s.cancel_requested);
  record.set_failing(s.failing);
  record.set_retrying(s.retrying);
  record.set_reason(s.reason);
  record.set_retry(to_record(s.retry));
  record.set_cancel_reason(s.cancel_reason);
  record.set_submitted_unix_ms(s.submitted_unix_ms);
  record.set_started_unix_ms(s.started_unix_ms);
  record.set_finished_unix_ms(s.finished_unix_ms);
  record.set_submit_key(s.submit_key);
  record.set_submit_hash(s.submit_hash);
  record.set_priority(s.priority);
  record.set_time_limit_ms(s.time_limit_ms);
  for (const std::string& job : s.after) record.add_after(job);
  record.set_yield(static_cast<v1::YieldRecord>(s.yield));
  record.set_queued_unix_ms(s.queued_unix_ms);
  record.set_slots_unix_ms(s.slots_unix_ms);
  record.set_world_min(s.world_min);
  record.set_world_max(s.world_max);
  record.set_resize_world(s.resize_world);
  record.set_world_reason(s.world_reason);
  return record.SerializeAsString();
}

Result<JournaledJob> decode_job(std::string_view bytes) {
  v1::JobRecord record;
  if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Status(Code::kCorruption,
                  "journal: a job record of " + std::to_string(bytes.size()) + " bytes cannot be parsed");
  TEPHRA_RETURN_IF_ERROR(check(record));
  JournaledJob job;
  job.order = record.order();
  job.events = record.events();
  JobState& s = job.state;
  s.id = record.id();
  s.user = record.user();
  s.recipe_json = record.recipe_json();
  s.recipe_name = record.recipe_name();
  s.world = record.world();
  s.threads_per_rank = record.threads_per_rank();
  s.max_restarts = record.max_restarts();
  s.phase = static_cast<Phase>(record.phase());
  s.gang = static_cast<GangPhase>(record.gang());
  s.work = static_cast<Work>(record.work());
  s.work_bench = record.work_bench();
  s.stage = record.stage();
  read_stages(record, &s);
  s.prepared_json = record.prepared_json();
  s.attempt = record.attempt();
  s.restarts_used = record.restarts_used();
  s.restarts_total = record.restarts_total();
  if (record.has_gang_record())
    s.gang_record = {record.gang_record().pid(),
                     record.gang_record().start_ticks(),
                     record.gang_record().marker(),
                     record.gang_record().log_dir(),
                     record.gang_record().launcher().empty() ? "local" : record.gang_record().launcher(),
                     record.gang_record().token_sha256()};
  s.cancel_requested = record.cancel_requested();
  s.failing = record.failing();
  s.retrying = record.retrying();
  s.reason = record.reason();
  s.retry = from_record(record.retry());
  s.cancel_reason = record.cancel_reason();
  s.submitted_unix_ms = record.submitted_unix_ms();
  s.started_unix_ms = record.started_unix_ms();
  s.finished_unix_ms = record.finished_unix_ms();
  s.submit_key = record.submit_key();
  s.submit_hash = record.submit_hash();
  s.priority = record.priority();
  s.time_limit_ms = record.time_limit_ms();
  s.after.assign(record.after().begin(), record.after().end());
  if (record.yield() != v1::YIELD_UNSPECIFIED) s.yield = static_cast<Yield>(record.yield());
  s.queued_unix_ms = record.queued_unix_ms();
  s.slots_unix_ms = record.slots_unix_ms();
  s.world_min = record.world_min() > 0 ? record.world_min() : s.world;
  s.world_max = record.world_max() > 0 ? record.world_max() : s.world;
  s.resize_world = record.resize_world();
  s.world_reason = record.world_reason();
  return job;
}

std::vector<storage::Put> Journal::puts(const JournaledJob& job, const Event& event, int64_t unix_ms) {
  v1::EventRecord record;
  record.set_unix_ms(unix_ms);
  record.set_name(std::string(event_name(event)));
  record.set_text(describe(event));
  record.set_attempt(job.state.attempt);
  record.set_phase_after(static_cast<v1::PhaseRecord>(job.state.phase));
  record.set_world_after(job.state.world);
  return {{storage::ColumnFamily::kJobs, job.state.id, encode(job), false},
          {storage::ColumnFamily::kEvents, event_key(job.state.id, job.events), record.SerializeAsString(), false}};
}

Status Journal::put(const JournaledJob& job, const Event& event, int64_t unix_ms) {
  return store_.write(puts(job, event, unix_ms));
}

// A store may hold very many jobs: decoded on several threads, batch by batch.
Status Journal::for_each(const std::function<Status(JournaledJob)>& take) const {
  std::vector<std::pair<std::string, std::string>> records;  // of one batch: key and bytes
  const auto take_batch = [&]() -> Status {
    std::vector<JournaledJob> jobs(records.size());
    TEPHRA_RETURN_IF_ERROR(parallel_for(records.size(), kDecodeThreads, [&](size_t i) -> Status {
      Result<JournaledJob> job = decode_job(records[i].second);
      if (!job.ok()) return job.status().with_context("job " + records[i].first);
      jobs[i] = std::move(job).value();
      return ok_status();
    }));
    records.clear();
    for (JournaledJob& job : jobs) TEPHRA_RETURN_IF_ERROR(take(std::move(job)));
    return ok_status();
  };
  Status failed;
  TEPHRA_RETURN_IF_ERROR(
      store_.scan(storage::ColumnFamily::kJobs, "", [&](std::string_view key, std::string_view value) {
        records.emplace_back(key, value);
        if (records.size() == kBatchRecords) failed = take_batch();
        return failed.ok();
      }));
  TEPHRA_RETURN_IF_ERROR(failed);
  return take_batch();
}

Result<std::vector<JournaledJob>> Journal::load() const {
  std::vector<JournaledJob> jobs;
  TEPHRA_RETURN_IF_ERROR(for_each([&](JournaledJob job) {
    jobs.push_back(std::move(job));
    return ok_status();
  }));
  std::sort(jobs.begin(), jobs.end(), by_order);
  return jobs;
}

Result<std::vector<JournaledJob>> Journal::load_unfinished(
    const std::function<Status(const JournaledJob&)>& ended) const {
  std::vector<JournaledJob> jobs;
  TEPHRA_RETURN_IF_ERROR(for_each([&](JournaledJob job) -> Status {
    if (is_final(job.state.phase)) return ended(job);
    jobs.push_back(std::move(job));
    return ok_status();
  }));
  std::sort(jobs.begin(), jobs.end(), by_order);
  return jobs;
}

Result<JournaledJob> Journal::get(const std::string& job) const {
  TEPHRA_ASSIGN_OR_RETURN(const auto bytes, store_.read(storage::ColumnFamily::kJobs, job));
  if (!bytes.has_value()) return Status(Code::kNotFound, "there is no job '" + job + "'");
  return decode_job(*bytes);
}

Result<std::vector<JournaledEvent>> Journal::events(const std::string& job, uint64_t after, size_t limit) const {
  std::vector<JournaledEvent> events;
  Status failed;
  TEPHRA_RETURN_IF_ERROR(store_.scan(
      storage::ColumnFamily::kEvents, job + "/",
      [&](std::string_view key, std::string_view value) {
        if (limit > 0 && events.size() == limit) return false;
        v1::EventRecord record;
        if (!record.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
            record.phase_after() == v1::PHASE_UNSPECIFIED) {
          failed = Status(Code::kCorruption, "journal: event " + std::string(key) + " cannot be parsed");
          return false;
        }
        events.push_back({std::strtoull(std::string(key.substr(job.size() + 1)).c_str(), nullptr, 10), record.unix_ms(),
                          record.name(), record.text(), record.attempt(), static_cast<Phase>(record.phase_after()),
                          record.world_after()});
        return true;
      },
      event_key(job, after + 1)));
  TEPHRA_RETURN_IF_ERROR(failed);
  return events;
}

}  // namespace tephra::coordinator
