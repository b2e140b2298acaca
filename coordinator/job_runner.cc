#include "coordinator/job_runner.h"

#include <algorithm>
#include <utility>

#include "base/env.h"

namespace tephra::coordinator {

using std::chrono::milliseconds;

JobRunner::JobRunner(Services& services, JournaledJob job, std::shared_ptr<const recipes::Recipe> recipe)
    : services_(services),
      job_(std::move(job)),
      job_id_(job_.state.id),
      shared_recipe_(std::move(recipe)),
      recipe_(*shared_recipe_),
      files_(job_directory(services.options->store_dir, job_.state.id)),
      lane_(*services.pool),
      queued_at_(moment_of(job_.state.queued_unix_ms)),
      slots_at_(moment_of(job_.state.slots_unix_ms)),
      world_since_(services.options->clock->steady()) {
  report_written_ = Env::posix().exists(files_.report_path());
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
  if (report_written_) view.report_path = files_.report_path();
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
  // Weak: a job that ends does not stay in memory until its limit.
  services_.dispatcher->post_after(std::max(milliseconds(0), left), [weak = weak_from_this(), stretch = ++stretch_] {
    const std::shared_ptr<JobRunner> self = weak.lock();
    if (self == nullptr || self->shut_) return;
    if (self->stretch_ == stretch && holds_slots(self->job_.state.phase)) self->handle(TimeLimitReached{});
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
  services_.dispatcher->post_after(std::max(milliseconds(0), left) + milliseconds(1), [weak = weak_from_this()] {
    if (const std::shared_ptr<JobRunner> self = weak.lock(); self != nullptr && !self->shut_)
      self->services_.on_change(self->job_id_);
  });
}

void JobRunner::act(const NotifyDone&) {
  *cancelled_ = true;
  gang_.reset();  // no process of it is left; here, since the runner may end on another thread
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
