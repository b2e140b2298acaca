#include "coordinator/job_queue.h"

#include <utility>

namespace tephra::coordinator {
namespace {

bool is_queued(const JobState& state) { return state.phase == Phase::kQueued; }

DependencyState dependency_state(std::optional<Phase> phase) {
  if (!phase) return DependencyState::kFailed;
  if (*phase == Phase::kDone) return DependencyState::kDone;
  return is_final(*phase) ? DependencyState::kFailed : DependencyState::kUnfinished;
}

int64_t to_ms(SteadyTime moment) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(moment.time_since_epoch()).count();
}

QueuedJob queued_job(const JobRunner& runner, const JobQueue::Find& find) {
  const JobState& state = runner.state();
  QueuedJob job{.id = state.id,
                .user = state.user,
                .slots = state.world_max * state.threads_per_rank,
                .slots_min = state.world_min * state.threads_per_rank,
                .priority = state.priority,
                .order = runner.order(),
                .queued_ms = to_ms(runner.queued_at()),
                .time_limit_ms = state.time_limit_ms};
  for (const std::string& id : state.after) job.after.push_back({id, dependency_state(find(id))});
  return job;
}

RunningJob running_job(const JobRunner& runner) {
  const JobState& state = runner.state();
  const bool makes_way = state.yield == Yield::kToQueue || state.yield == Yield::kToPause;
  return {.id = state.id,
          .user = state.user,
          .slots = state.slots(),
          .slots_max = runner.may_grow() ? state.world_max * state.threads_per_rank : 0,
          .priority = state.priority,
          .started_ms = to_ms(runner.slots_at()),
          .time_limit_ms = state.time_limit_ms,
          .preemptible = state.phase != Phase::kReporting,
          .stopping = makes_way || state.failing || state.cancel_requested};
}

}  // namespace

// As if what it was told had happened.
void JobQueue::add_running(JobRunner& runner, SteadyTime now) {
  RunningJob job = running_job(runner);
  if (const auto told = told_.find(job.id); told != told_.end()) {
    if (told->second.slots > 0) job.slots = told->second.slots;
    if (is_queued(runner.state())) job.started_ms = to_ms(now);
    job.slots_max = 0;
    job.preemptible = false;
    job.stopping |= told->second.yields;
  }
  input_.running.push_back(std::move(job));
  running_.push_back(&runner);
}

void JobQueue::read(const Runners& runners, const Find& find, SteadyTime now) {
  input_.now_ms = to_ms(now);
  input_.lost_slots = lost_slots_();
  waiting_.clear();  // its keys are texts of input_
  input_.queued.clear();
  input_.running.clear();
  queued_.clear();
  running_.clear();
  for (const auto& runner : runners) {
    const JobState& state = runner->state();
    if (holds_slots(state.phase) || told_.contains(state.id)) {
      add_running(*runner, now);
    } else if (is_queued(state) && runner->durable()) {
      input_.queued.push_back(queued_job(*runner, find));
      queued_.push_back(runner.get());
    }
  }
  usage_.advance(input_.now_ms, input_.running);
  input_.usage = usage_.by_user();
}

void JobQueue::schedule(const Runners& runners, const Find& find, SteadyTime now) {
  const SteadyTime begin = std::chrono::steady_clock::now();
  read(runners, find, now);
  decision_ = decide(input_);
  waiting_.clear();
  for (size_t i = 0; i < input_.queued.size(); ++i) waiting_[input_.queued[i].id] = i;
  // What is told comes back here when it is durable, by way of the dispatcher: marks first, and copies of what is told.
  std::vector<std::pair<JobRunner*, Event>> tell;
  std::string first_waiting;
  for (size_t i = 0; i < queued_.size(); ++i) {
    const Wait& wait = decision_.waits[i];
    if (wait.why == Wait::Why::kSlots) first_waiting = input_.queued[i].id;
    if (wait.why == Wait::Why::kFailedDependency)
      tell.emplace_back(queued_[i], DependencyFailed{describe(wait, input_.now_ms)});
  }
  for (const Grant& grant : decision_.start) {
    const JobState& state = queued_[grant.job]->state();
    told_[state.id] = {.slots = grant.slots};
    tell.emplace_back(queued_[grant.job],
                      Scheduled{wall_.unix_ms(), grant.slots / state.threads_per_rank, state.world_max});
  }
  for (const Grant& grant : decision_.grow) {
    const JobState& state = running_[grant.job]->state();
    told_[state.id] = {.slots = grant.slots};
    tell.emplace_back(running_[grant.job], ResizeRequested{grant.slots / state.threads_per_rank, state.world});
  }
  for (const size_t i : decision_.preempt) {
    told_[input_.running[i].id] = {.yields = true};
    tell.emplace_back(running_[i], Preempted{first_waiting});
  }
  decision_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (auto& [runner, event] : tell)
    runner->handle(std::move(event), [this, id = runner->state().id](const Status&) { told_.erase(id); });
}

int JobQueue::ranks_left(const JobState& state, const Runners& runners) const {
  int left = input_.options.slots - lost_slots_();
  for (const auto& other : runners) {
    if (other->state().id == state.id) continue;
    const auto told = told_.find(other->state().id);
    const bool told_slots = told != told_.end() && told->second.slots > 0;
    if (told_slots || holds_slots(other->state().phase))
      left -= told_slots ? told->second.slots : other->state().slots();
  }
  const int threads = state.threads_per_rank;
  return most_that_fits(state.world_max * threads, state.world_min * threads, left) / threads;
}

void JobQueue::explain(JobView* view, SteadyTime now) const {
  if (view->state.phase != Phase::kQueued) return;
  const auto found = waiting_.find(view->state.id);
  if (found == waiting_.end()) return;
  const Wait& wait = decision_.waits[found->second];
  view->queue_position = wait.position;
  view->waits_for = describe(wait, to_ms(now));
}

}  // namespace tephra::coordinator
