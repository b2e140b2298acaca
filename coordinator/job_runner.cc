#include "coordinator/job_runner.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/env.h"
#include "coordinator/crypto.h"
#include "coordinator/rpc_address.h"
#include "coordinator/tokens.h"
#include "eval/score/answer_file.h"
#include "storage/handover.h"
#include "storage/pack.h"

namespace tephra::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr double kSmoothing = 0.2;  // weight of the newest step in the time estimate

}  // namespace

JobRunner::JobRunner(Services& services, JournaledJob job, std::shared_ptr<const recipes::Recipe> recipe)
    : services_(services),
      job_(std::move(job)),
      job_id_(job_.state.id),
      shared_recipe_(std::move(recipe)),
      recipe_(*shared_recipe_),
      files_(services.options->store_dir + "/jobs/" + job_.state.id),
      // A job that has ended needs no lane of its own; there may be very many.
      lane_(is_final(job_.state.phase) ? *services.preparations : Lane(*services.pool)),
      queued_at_(moment_of(job_.state.queued_unix_ms)),
      slots_at_(moment_of(job_.state.slots_unix_ms)),
      world_since_(services.options->clock->steady()) {
  report_written_ = !is_final(job_.state.phase) && Env::posix().exists(files_.report_path());
  if (job_.state.prepared_json.empty()) return;
  Result<PreparedJob> prepared = prepared_from_json(job_.state.prepared_json);
  if (prepared.ok()) prepared_ = std::move(prepared).value();
}

JobView JobRunner::view() const {
  JobView view;
  view.state = job_.state;
  view.directory = files_.directory();
  if (gang_ != nullptr) {
    view.ranks = gang_->ranks();
    if (job_.state.gang == GangPhase::kStarting) view.waits_for = gang_->waiting();
  }
  view.step = step_;
  view.answers = answers_;
  if (step_.has_value() && job_.state.phase == Phase::kTraining && step_->total_steps > 0)
    view.eta_seconds = static_cast<double>(step_->total_steps - step_->step) * step_seconds_;
  // Of a job that ended before this coordinator began it is looked up when it is asked for: there may be very many.
  const bool written = report_written_ || (is_final(job_.state.phase) && Env::posix().exists(files_.report_path()));
  if (written) view.report_path = files_.report_path();
  return view;
}

void JobRunner::handle(Event event, std::function<void(const Status&)> durable) {
  inbox_.push_back({std::move(event), std::nullopt, std::move(durable)});
  next();
}

void JobRunner::next() {
  if (busy_ || inbox_.empty()) return;
  Pending pending = std::move(inbox_.front());
  inbox_.pop_front();
  process(std::move(pending));
}

void JobRunner::process(Pending pending) {
  if (broken_) {
    if (pending.durable)
      pending.durable(Status(Code::kIo, "the job's journal cannot be written: " + job_.state.reason));
    return next();
  }
  Transition step = transition(job_.state, pending.event);
  if (pending.commit.has_value()) return commit(std::move(pending), std::move(step));
  if (!step.changed) {
    if (pending.durable) pending.durable(ok_status());
    return next();
  }
  busy_ = true;
  const int64_t now = services_.options->clock->unix_ms();
  JournaledJob job{std::move(step.state), job_.order, job_.events + 1};
  if (is_final(job.state.phase)) job.state.finished_unix_ms = now;
  auto self = shared_from_this();
  services_.pool->post(
      [self, job = std::move(job), pending = std::move(pending), actions = std::move(step.actions), now]() mutable {
        const Status written = self->services_.journal->put(job, pending.event, now);
        self->services_.dispatcher->post([self, written, job = std::move(job), pending = std::move(pending),
                                          actions = std::move(actions)]() mutable {
          if (!written.ok()) return self->journal_failed(pending, written);
          self->applied(std::move(job), pending, actions);
        });
      });
}

void JobRunner::applied(JournaledJob job, const Pending& pending, const std::vector<Action>& actions) {
  const JobState before = std::move(job_.state);
  job_ = std::move(job);
  busy_ = false;
  if (job_.state.prepared_json != before.prepared_json) {
    Result<PreparedJob> prepared = prepared_from_json(job_.state.prepared_json);
    if (prepared.ok()) prepared_ = std::move(prepared).value();
  }
  if (job_.state.recipe_json != before.recipe_json) {
    lane_.post([self = shared_from_this(), recipe_json = job_.state.recipe_json] {
      const Status written = self->files_.create(recipe_json);
      if (!written.ok()) log::warning("a job's recipe.json was not written", {{"reason", written.message()}});
    });
  }
  if (job_.state.stage != before.stage || job_.state.phase != before.phase) {
    if (job_.state.stage != before.stage) step_.reset();
    answers_ = 0;
  }
  note_times(before, pending.event);
  tell(before, pending);
  if (const auto* committed = std::get_if<CheckpointCommitted>(&pending.event)) tend(committed->stage);
  if (pending.durable) pending.durable(ok_status());
  if (!shut_)
    for (const Action& action : actions) std::visit([this](const auto& a) { act(a); }, action);
  services_.on_change(job_.state.id);
  next();
}

// The wall clock may be set, forwards or back, while a job waits or runs.
SteadyTime JobRunner::moment_of(int64_t unix_ms) const {
  const Clock& clock = *services_.options->clock;
  const int64_t ago = unix_ms == 0 ? 0 : std::max<int64_t>(0, clock.unix_ms() - unix_ms);
  return clock.steady() - milliseconds(ago);
}

void JobRunner::note_times(const JobState& before, const Event& event) {
  const JobState& now = job_.state;
  const bool restarted = std::holds_alternative<CoordinatorRestarted>(event);
  const SteadyTime moment = services_.options->clock->steady();
  if (now.phase == Phase::kQueued && before.phase != Phase::kQueued && !restarted) queued_at_ = moment;
  if (std::holds_alternative<Scheduled>(event)) slots_at_ = moment;
  if (std::holds_alternative<Scheduled>(event) || now.world != before.world) world_since_ = moment;
  if (std::holds_alternative<Scheduled>(event) || restarted) watch_time_limit();
  if (now.gang == GangPhase::kUp && (before.gang != GangPhase::kUp || restarted)) watch_growth();
}

// Without a journal nothing that happens to the job can be remembered, so nothing more is made to happen.
void JobRunner::journal_failed(const Pending& pending, const Status& status) {
  busy_ = false;
  broken_ = true;
  job_.state.phase = Phase::kFailed;
  job_.state.reason = "the journal cannot be written: " + status.message();
  job_.state.retry = RetryClass::kNeedsOperator;
  log::error("journal write failed", {{"job", job_.state.id}, {"reason", status.message()}});
  if (gang_ != nullptr) gang_->kill();
  if (pending.durable) pending.durable(status);
  services_.publish(make_event(JobEvent::Kind::kState, job_.state.reason));
  services_.on_change(job_.state.id);
  next();
}

// What subscribers hear of a durable step.
void JobRunner::tell(const JobState& before, const Pending& pending) {
  const JobState& now = job_.state;
  const Event& event = pending.event;
  if (const auto* committed = std::get_if<CheckpointCommitted>(&event)) {
    JobEvent told = make_event(JobEvent::Kind::kCheckpoint, "checkpoint " + committed->name + " committed");
    told.checkpoint = committed->name;
    told.step.step = committed->step;
    told.commit_seconds = pending.commit_seconds;
    told.commit_bytes = pending.commit_bytes;
    services_.publish(std::move(told));
  }
  const std::string resized = now.world != before.world ? " with " + std::to_string(now.world) + " ranks" : "";
  if (std::holds_alternative<BackoffElapsed>(event) || std::holds_alternative<GangLost>(event))
    services_.publish(make_event(JobEvent::Kind::kRestart, std::holds_alternative<GangLost>(event)
                                                               ? describe(event)
                                                               : "starting attempt " + std::to_string(now.attempt) +
                                                                     resized + ": " + now.reason));
  if (now.phase == before.phase && now.gang == before.gang && now.stage == before.stage) return;
  std::string message = describe(event);
  if (now.phase != before.phase) message = std::string(phase_name(now.phase)) + " (" + message + ")";
  if (is_final(now.phase) && now.phase != Phase::kDone) message = now.ended_early();
  services_.publish(make_event(JobEvent::Kind::kState, std::move(message)));
}

JobEvent JobRunner::make_event(JobEvent::Kind kind, std::string message) const {
  JobEvent event;
  event.kind = kind;
  event.job = job_.state.id;
  event.phase = job_.state.phase;
  event.attempt = job_.state.attempt;
  event.stage = job_.state.plan[job_.state.stage].name;
  event.bench = job_.state.work_bench;
  event.message = std::move(message);
  return event;
}

// --- actions

void JobRunner::act(const Prepare&) {
  auto self = shared_from_this();
  services_.preparations->post([self] {
    PreparationContext context;
    context.store = self->services_.store;
    context.store_dir = self->services_.options->store_dir;
    context.machine_bytes = self->services_.options->memory_bytes;
    context.cancelled = self->cancelled_.get();
    context.report = [self](const std::string& line) {
      self->services_.dispatcher->post(
          [self, line] { self->services_.publish(self->make_event(JobEvent::Kind::kLog, line)); });
    };
    Status status = self->files_.create(recipes::to_json(self->recipe_));
    std::string prepared_json;
    if (status.ok()) {
      const Result<PreparedJob> prepared = prepare_job(self->recipe_, context);
      status = prepared.status();
      if (prepared.ok()) prepared_json = to_json(*prepared);
    }
    self->services_.dispatcher->post([self, status, prepared_json] {
      if (!self->shut_) self->handle(Prepared{status, prepared_json});
    });
  });
}

void JobRunner::act(const LaunchGang& action) {
  const Options& options = *services_.options;
  GangSessionOptions gang = session_options();
  const std::string token = random_token();
  gang.token_sha256 = sha256_hex(token);
  gang.spec.name = job_id_;
  gang.spec.command = {options.worker_program,
                       "rank",
                       "--coordinator",
                       rpc_address(options.rpc_host, services_.rpc->port()),
                       "--coordinator-file",
                       rpc_address_path(options.store_dir),
                       "--reattach-ms",
                       std::to_string(static_cast<int64_t>(recipe_.gang.reattach_s * 1000)),
                       "--job",
                       job_id_,
                       "--attempt",
                       std::to_string(action.attempt)};
  gang.spec.ranks = action.world;
  gang.spec.threads_per_rank = job_.state.threads_per_rank;
  gang.spec.environment["TEPHRA_GANG_TOKEN"] = token;
  gang.spec.work_dir = files_.directory();
  gang.spec.oversubscribe = job_.state.slots() > options.slots;
  adopted_ = false;
  make_session(std::move(gang));
  gang_->launch();
}

GangSessionOptions JobRunner::session_options() const {
  GangSessionOptions gang;
  gang.job = job_id_;
  gang.attempt = job_.state.attempt;
  gang.world = job_.state.world;
  gang.heartbeat_timeout = milliseconds(static_cast<int64_t>(recipe_.gang.heartbeat_timeout_s * 1000));
  gang.start_timeout = services_.options->start_timeout;
  gang.spec.log_dir = files_.log_dir(job_.state.attempt);
  return gang;
}

void JobRunner::make_session(GangSessionOptions gang) {
  // Weak: the gang belongs to this runner.
  const std::weak_ptr<JobRunner> weak = weak_from_this();
  const uint32_t attempt = gang.attempt;
  const auto with_self = [weak](auto&& work) {
    if (const std::shared_ptr<JobRunner> self = weak.lock()) work(*self);
  };
  GangSession::Callbacks callbacks;
  callbacks.on_launched = [with_self, attempt, token_sha256 = gang.token_sha256](const cluster::GangIdentity& gang) {
    with_self([&](JobRunner& self) {
      self.handle(
          GangLaunched{attempt, {gang.pid, gang.start_ticks, gang.marker, gang.log_dir, gang.launcher, token_sha256}});
    });
  };
  callbacks.on_up = [with_self, attempt] { with_self([&](JobRunner& self) { self.gang_up(attempt); }); };
  callbacks.on_lost = [with_self, attempt](const std::string& reason, RetryClass retry, const GangFlight& flights) {
    with_self([&](JobRunner& self) {
      if (self.shut_) return;
      self.file_flights(flights);
      self.handle(GangLost{attempt, reason, retry});
    });
  };
  callbacks.on_withdrawn = [with_self, attempt](const std::string& reason) {
    with_self([&](JobRunner& self) {
      if (!self.shut_) self.handle(HostsWithdrawn{attempt, reason});
    });
  };
  callbacks.on_waiting = [with_self](const std::string& what) {
    with_self([&](JobRunner& self) { self.services_.publish(self.make_event(JobEvent::Kind::kLog, what)); });
  };
  callbacks.on_finished = [with_self](const std::vector<cluster::Finished>&) {
    with_self([](JobRunner& self) { self.task_done(); });
  };
  callbacks.on_ended = [with_self, attempt] { with_self([&](JobRunner& self) { self.gang_ended(attempt); }); };
  shards_.clear();
  gang_ = std::make_shared<GangSession>(std::move(gang), std::move(callbacks), *services_.dispatcher, *services_.pool,
                                        *services_.launcher, *services_.rpc);
}

// Before the runner's first event, CoordinatorRestarted{.adopted = true}.
void JobRunner::adopt(std::shared_ptr<cluster::Gang> gang) {
  GangSessionOptions options = session_options();
  options.token_sha256 = job_.state.gang_record.token_sha256;
  options.start_timeout = milliseconds(static_cast<int64_t>(recipe_.gang.reattach_s * 1000));
  make_session(std::move(options));
  adopted_ = true;
  last_step_ = {job_.state.stage, files_.last_step(stage_name())};
  if (job_.state.work == Work::kTrain) {
    // What the task started from. A checkpoint that this attempt has committed since knows it as its parent.
    bool resume = false;
    const std::string checkpoint = job_.state.train_from(&resume);
    task_input_ = checkpoint.empty() ? prepared_.base_checkpoint : checkpoint;
    const Result<storage::Manifest> newest = services_.store->get(task_input_);
    if (newest.ok() && newest->job == job_id_ && newest->stage == stage_name() &&
        newest->attempt == static_cast<int64_t>(job_.state.attempt) &&
        !recipes::bench_runs_at(job_.state.plan[job_.state.stage].every,
                                newest->step))  // there the task before it ended
      task_input_ = newest->parent;
  } else {
    known_answers_ = eval::answered_keys(answers_path());
    answers_ = static_cast<int64_t>(known_answers_.size());
  }
  gang_->adopt(std::move(gang));
}

// A gang that came back has its task, unless the coordinator was killed while it gave it.
void JobRunner::gang_up(uint32_t attempt) {
  if (!adopted_) return handle(GangUp{attempt});
  services_.publish(make_event(JobEvent::Kind::kLog, "attempt " + std::to_string(attempt) +
                                                         " goes on under this coordinator: its ranks came back"));
  const std::optional<Action> work = work_action(job_.state);
  if (work && job_.state.work != Work::kScoring) std::visit([this](const auto& a) { act(a); }, *work);
}

void JobRunner::gang_ended(uint32_t attempt) {
  lane_.post([store = services_.store, prefix = storage::pack_prefix(job_.state.id, attempt)] {
    (void)store->release_lease(prefix);
  });
  ended_attempt_ = attempt;
  if (shut_ended_) return shut_ended_();
  handle(GangEnded{attempt, services_.options->clock->unix_ms()});
}

void JobRunner::act(const SendTrain& action) {
  cluster::Task task;
  task.kind = "train";
  task.stage = job_.state.plan[action.stage].name;
  task.name = "train " + task.stage;
  if (gang_->all_have(task.name)) return;
  const bool from_base = action.checkpoint.empty();
  const bool forked = from_base && action.stage == 0 && prepared_.resume_step > 0;  // goes on where another job was
  task.start_step = static_cast<uint64_t>(forked ? prepared_.resume_step : action.start_step);
  task_input_ = from_base ? prepared_.base_checkpoint : action.checkpoint;
  send_task(std::move(task), task_input_, task_options(action.stage, "", 0, action.resume || forked),
            action.resume || forked ? storage::HandoverUse::kContinue : storage::HandoverUse::kStart);
}

void JobRunner::act(const SendEvaluate& action) {
  cluster::Task task;
  task.kind = "evaluate";
  task.stage = job_.state.plan[action.stage].name;
  task.name = "evaluate " + task.stage + " " + action.bench;
  if (action.step > 0) task.name += " at step " + std::to_string(action.step);
  if (gang_->all_have(task.name)) return;
  answers_ = 0;
  known_answers_.clear();
  send_task(std::move(task), action.checkpoint, task_options(action.stage, action.bench, action.step, false),
            storage::HandoverUse::kContinue);
}

std::string JobRunner::answers_path() const {
  return files_.answers_path(stage_name(), job_.state.work_bench, job_.state.bench_run_step());
}

std::string JobRunner::task_options(int stage, const std::string& bench, int64_t bench_step, bool resume) const {
  nlohmann::json options = nlohmann::json::parse(to_json(prepared_));
  const std::string& stage_name = job_.state.plan[stage].name;
  nlohmann::json out = {{"stage_index", stage},
                        {"bench", bench},
                        {"resume", resume},
                        {"model_dir", prepared_.model_dir},
                        {"datasets", options["datasets"]},
                        {"packs_dir", services_.store->packs_dir()},
                        {"total_ranks", job_.state.world},
                        {"answers_file", bench.empty() ? "" : files_.answers_path(stage_name, bench, bench_step)}};
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void JobRunner::act(const StopGang& action) {
  const milliseconds grace = action.may_commit ? services_.options->checkpoint_grace : services_.options->stop_grace;
  if (gang_ != nullptr) gang_->stop(action.reason, grace);
}

void JobRunner::act(const KillGang&) {
  if (gang_ != nullptr) gang_->kill();
}

void JobRunner::act(const WriteReport& action) {
  auto self = shared_from_this();
  if (action.final)
    for (const recipes::StageRecipe& stage : recipe_.stages) tend(stage.name);
  lane_.post([self, final = action.final, state = job_.state, prepared = prepared_] {
    if (final) self->collect_garbage(true);
    const Status written = self->files_.write_report(self->recipe_, state, prepared, *self->services_.store,
                                                     self->services_.options->clock->unix_ms());
    self->services_.dispatcher->post([self, final, written] {
      if (written.ok()) {
        self->report_written_ = true;
        self->services_.publish(
            self->make_event(JobEvent::Kind::kReport, "report written: " + self->files_.report_path()));
      } else {
        JobEvent event =
            self->make_event(JobEvent::Kind::kLog, "the report could not be written: " + written.message());
        event.level = log::Level::kWarning;
        self->services_.publish(std::move(event));
      }
      if (final) self->handle(ReportWritten{written});
    });
  });
}

void JobRunner::act(const StartBackoff& action) {
  auto self = shared_from_this();
  services_.dispatcher->post_after(milliseconds(action.ms), [self, attempt = action.attempt] {
    if (self->shut_) return;
    const int ranks = self->services_.ranks_left(*self);
    self->handle(BackoffElapsed{attempt, ranks < self->job_.state.world ? ranks : 0});
  });
}

// The gang is stopped a little early, so that its last checkpoint is there at the limit.
void JobRunner::watch_time_limit() {
  const JobState& s = job_.state;
  if (s.time_limit_ms <= 0 || !holds_slots(s.phase)) return;
  const int64_t grace = std::min<int64_t>(services_.options->checkpoint_grace.count(), s.time_limit_ms / 10);
  const SteadyTime end = slots_at_ + milliseconds(s.time_limit_ms - grace);
  const auto left = std::chrono::duration_cast<milliseconds>(end - services_.options->clock->steady());
  auto self = shared_from_this();
  services_.dispatcher->post_after(std::max(milliseconds(0), left), [self, stretch = ++stretch_] {
    const bool same = self->stretch_ == stretch && holds_slots(self->job_.state.phase);
    if (!self->shut_ && same) self->handle(TimeLimitReached{});
  });
}

bool JobRunner::may_grow() const {
  const JobState& s = job_.state;
  const bool has_work = s.gang == GangPhase::kUp && (s.work == Work::kTrain || s.work == Work::kEvaluate);
  const bool settled = s.yield == Yield::kNone && !s.failing && !s.cancel_requested;
  const auto kept = std::chrono::duration<double>(services_.options->clock->steady() - world_since_).count();
  return s.world < s.world_max && has_work && settled && kept >= recipe_.gang.resize_after_s;
}

// The scheduler looks again when the gang may be given more.
void JobRunner::watch_growth() {
  if (job_.state.world >= job_.state.world_max) return;
  const SteadyTime due = world_since_ + milliseconds(static_cast<int64_t>(recipe_.gang.resize_after_s * 1000) + 1);
  const auto left = std::chrono::duration_cast<milliseconds>(due - services_.options->clock->steady());
  auto self = shared_from_this();
  services_.dispatcher->post_after(std::max(milliseconds(0), left) + milliseconds(1), [self] {
    if (!self->shut_) self->services_.on_change(self->job_id_);
  });
}

void JobRunner::act(const NotifyDone&) { *cancelled_ = true; }

// --- what ranks say

Status JobRunner::hello(cluster::ConnectionId connection, const cluster::Hello& hello) {
  if (gang_ == nullptr || shut_) return {Code::kCancelled, "the job " + job_.state.id + " has no gang"};
  return gang_->hello(connection, hello);
}

void JobRunner::message(int rank, uint32_t attempt, const cluster::RankMessage& message) {
  if (gang_ == nullptr || gang_->options().attempt != attempt || ended_attempt_ == attempt) return;
  if (const auto* heartbeat = std::get_if<cluster::Heartbeat>(&message))
    gang_->heartbeat(rank, *heartbeat);
  else if (const auto* step = std::get_if<cluster::StepProgress>(&message))
    stepped(*step);
  else if (const auto* shard = std::get_if<cluster::ShardWritten>(&message))
    shard_written(rank, *shard);
  else if (const auto* answers = std::get_if<cluster::Answers>(&message))
    answered(*answers);
  else if (const auto* finished = std::get_if<cluster::Finished>(&message))
    gang_->finished(rank, *finished);
  else if (const auto* log = std::get_if<cluster::Log>(&message))
    logged(rank, *log);
  else if (const auto* report = std::get_if<cluster::FlightReport>(&message))
    gang_->flown(rank, *report);
}

void JobRunner::connection_closed(int rank, uint32_t attempt, const Status& reason) {
  if (gang_ != nullptr && gang_->options().attempt == attempt && !shut_) gang_->connection_closed(rank, reason);
}

void JobRunner::stepped(const cluster::StepProgress& step) {
  // Ranks that come back say again what the coordinator before may not have heard.
  const int stage = job_.state.stage_index(step.stage);
  if (adopted_ && std::pair(stage, step.step) <= last_step_) return;
  last_step_ = {stage, step.step};
  step_seconds_ = step_.has_value() && step_seconds_ > 0
                      ? kSmoothing * step.step_seconds + (1 - kSmoothing) * step_seconds_
                      : step.step_seconds;
  step_ = step;
  auto self = shared_from_this();
  const int64_t now = services_.options->clock->unix_ms();
  lane_.post([self, step, now, attempt = job_.state.attempt] {
    const Status written = self->files_.append_step(attempt, now, step);
    if (!written.ok())
      log::warning("a step's metrics were not written", {{"job", self->job_.state.id}, {"reason", written.message()}});
  });
  JobEvent event =
      make_event(JobEvent::Kind::kStep, step.stage + ": step " + std::to_string(step.step) + " of " +
                                            std::to_string(step.total_steps) + ", loss " + std::to_string(step.loss));
  event.stage = step.stage;
  event.step = step;
  services_.publish(std::move(event));
}

void JobRunner::answered(cluster::Answers answers) {
  if (job_.state.work != Work::kEvaluate || answers.task != job_.state.work_bench) return;
  if (adopted_)
    std::erase_if(answers.answers, [this](const cluster::Answer& a) { return known_answers_.contains(a.question_id); });
  answers_ += static_cast<int64_t>(answers.answers.size());
  auto self = shared_from_this();
  lane_.post([self, stage = stage_name(), step = job_.state.bench_run_step(), answers] {
    const Status written = self->files_.append_answers(stage, answers.task, step, answers.answers);
    if (written.ok()) return;
    self->services_.dispatcher->post([self, written] {
      if (self->gang_ != nullptr)
        self->gang_->fault(kFaultSaid, "answers could not be written: " + written.message(), written.retry_class());
    });
  });
  JobEvent event =
      make_event(JobEvent::Kind::kBenchProgress, answers.task + ": " + std::to_string(answers_) + " answers");
  event.bench = answers.task;
  event.done = answers_;
  event.total = answers.total;
  services_.publish(std::move(event));
}

void JobRunner::logged(int rank, const cluster::Log& line) {
  JobEvent event = make_event(JobEvent::Kind::kLog, line.text);
  event.level = line.level;
  event.rank = rank;
  services_.publish(std::move(event));
}

// All ranks finished what was sent last. The state may be a step behind (a commit in the inbox), so the event is made
// from the task that the state will have when it gets there.
void JobRunner::task_done() {
  const JobState& s = job_.state;
  const bool training = s.work == Work::kTrain;
  if (training) file_flights(gang_->flights());
  handle(TaskFinished{s.attempt, training ? "train" : "evaluate", s.plan[s.stage].name, training ? "" : s.work_bench});
}

void JobRunner::ask_flights(uint32_t records_max, const std::function<void(Result<GangFlight>)>& done) {
  const JobState& s = job_.state;
  if (gang_ == nullptr || s.gang != GangPhase::kUp || gang_->ending())
    return done(Status(
        Code::kUnavailable,
        "no ranks of job " + s.id + " run at present; it is " + std::string(phase_name(s.phase)) +
            (s.attempt > 0 ? ", and attempt " + std::to_string(s.attempt) + " may have filed its last records" : "")));
  auto self = shared_from_this();
  const Status asked = gang_->ask_flights(records_max, [self, gang = gang_, done] {
    GangFlight flights = gang->flights();
    flights.stage = self->job_.state.plan[self->job_.state.stage].name;
    flights.unix_ms = self->services_.options->clock->unix_ms();
    done(std::move(flights));
  });
  if (!asked.ok()) done(asked);
}

// Of a gang that is lost, with the report; or of a finished training task, for tephra trace.
void JobRunner::file_flights(GangFlight gang) {
  gang.stage = job_.state.plan[job_.state.stage].name;
  gang.unix_ms = services_.options->clock->unix_ms();
  auto self = shared_from_this();
  lane_.post([self, gang = std::move(gang)] {
    const Status written = self->files_.write_flights(gang);
    if (!written.ok())
      log::warning("the ranks' flights were not written", {{"job", gang.job}, {"reason", written.message()}});
  });
}

void JobRunner::shut_down(std::function<void()> ended) {
  shut_ = true;
  *cancelled_ = true;
  const bool live = gang_ != nullptr && ended_attempt_ != gang_->options().attempt;
  if (!live) return ended();
  shut_ended_ = std::move(ended);
  if (!gang_->ending()) gang_->stop("the coordinator is shutting down", services_.options->stop_grace);
}

}  // namespace tephra::coordinator
