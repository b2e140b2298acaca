// What a job's ranks say: steps, answers, logs, flights. Their shards are in job_checkpoints.cc, the rest of JobRunner in
// job_runner.cc.
#include <utility>

#include "coordinator/job_runner.h"

namespace tephra::coordinator {
namespace {

constexpr double kSmoothing = 0.2;  // weight of the newest step in the time estimate

}  // namespace

Status no_ranks_run(const std::string& job, Phase phase, uint32_t attempt) {
  return {Code::kUnavailable,
          "no ranks of job " + job + " run at present; it is " + std::string(phase_name(phase)) +
              (attempt > 0 ? ", and attempt " + std::to_string(attempt) + " may have filed its last records" : "")};
}

Status no_gang(const std::string& job) { return {Code::kCancelled, "the job " + job + " has no gang"}; }

Status JobRunner::hello(cluster::ConnectionId connection, const cluster::Hello& hello) {
  if (gang_ == nullptr || shut_) return no_gang(job_id_);
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
    return done(no_ranks_run(s.id, s.phase, s.attempt));
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

}  // namespace tephra::coordinator
