// What a job does with its gang: launches it or takes it back, gives it tasks, ends it. The rest of JobRunner is in job_runner.cc.
#include <nlohmann/json.hpp>
#include <utility>

#include "coordinator/crypto.h"
#include "coordinator/job_runner.h"
#include "coordinator/rpc_address.h"
#include "coordinator/tokens.h"
#include "eval/score/answer_file.h"
#include "storage/handover.h"
#include "storage/pack.h"

namespace tephra::coordinator {

using std::chrono::milliseconds;

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

}  // namespace tephra::coordinator
