#include "coordinator/job_queue.h"

#include <utility>

namespace tephra::coordinator {
namespace {

bool is_queued(const JobState& state) { return state.phase == Phase::kQueued; }

DependencyState dependency_state(const JobState* job) {
  if (job == nullptr) return DependencyState::kFailed;
  if (job->phase == Phase::kDone) return DependencyState::kDone;
  return is_final(job->phase) ? DependencyState::kFailed : DependencyState::kUnfinished;
}

QueuedJob queued_job(const JobRunner& runner, const JobQueue::Find& find) {
  const JobState& state = runner.state();
  QueuedJob job{.id = state.id,
                .user = state.user,
                .slots = runner.slots(),
                .priority = state.priority,
                .order = runner.order(),
                .queued_unix_ms = state.queued_unix_ms,
                .time_limit_ms = state.time_limit_ms};
  for (const std::string& id : state.after) job.after.push_back({id, dependency_state(find(id))});
  return job;
}

RunningJob running_job(const JobRunner& runner, int64_t started_unix_ms, bool told_to_yield) {
  const JobState& state = runner.state();
  const bool ending = state.yield != Yield::kNone || state.failing || state.cancel_requested;
  return {.id = state.id,
          .user = state.user,
          .slots = runner.slots(),
          .priority = state.priority,
          .started_unix_ms = started_unix_ms,
          .time_limit_ms = state.time_limit_ms,
          .preemptible = state.phase != Phase::kReporting,
          .stopping = ending || told_to_yield};
}

}  // namespace

void JobQueue::forget_what_was_heard(const Runners& runners) {
  if (told_to_start_.empty() && told_to_yield_.empty()) return;
  for (const auto& runner : runners) {
    const JobState& state = runner->state();
    if (!is_queued(state)) told_to_start_.erase(state.id);
    if (!holds_slots(state.phase) || state.yield != Yield::kNone) told_to_yield_.erase(state.id);
  }
}

void JobQueue::read(const Runners& runners, const Find& find, int64_t now_unix_ms) {
  input_.now_unix_ms = now_unix_ms;
  waiting_.clear();  // its keys are texts of input_
  input_.queued.clear();
  input_.running.clear();
  queued_.clear();
  running_.clear();
  for (const auto& runner : runners) {
    const JobState& state = runner->state();
    const bool starts = told_to_start_.contains(state.id);
    if (holds_slots(state.phase) || starts) {
      const int64_t started = starts ? now_unix_ms : state.slots_unix_ms;
      input_.running.push_back(running_job(*runner, started, told_to_yield_.contains(state.id)));
      if (starts) input_.running.back().preemptible = false;
      running_.push_back(runner.get());
    } else if (is_queued(state) && state.submitted_unix_ms != 0) {  // 0: its submission is not durable yet
      input_.queued.push_back(queued_job(*runner, find));
      queued_.push_back(runner.get());
    }
  }
  usage_.advance(now_unix_ms, input_.running);
  input_.usage = usage_.by_user();
}

void JobQueue::schedule(const Runners& runners, const Find& find, int64_t now_unix_ms) {
  forget_what_was_heard(runners);
  read(runners, find, now_unix_ms);
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
      tell.emplace_back(queued_[i], DependencyFailed{describe(wait, now_unix_ms)});
  }
  for (const size_t i : decision_.start) {
    told_to_start_.insert(input_.queued[i].id);
    tell.emplace_back(queued_[i], Scheduled{now_unix_ms});
  }
  for (const size_t i : decision_.preempt) {
    told_to_yield_.insert(input_.running[i].id);
    tell.emplace_back(running_[i], Preempted{first_waiting});
  }
  for (auto& [runner, event] : tell) runner->handle(std::move(event));
}

void JobQueue::explain(JobView* view, int64_t now_unix_ms) const {
  if (view->state.phase != Phase::kQueued) return;
  const auto found = waiting_.find(view->state.id);
  if (found == waiting_.end()) return;
  const Wait& wait = decision_.waits[found->second];
  view->queue_position = wait.position;
  view->waits_for = describe(wait, now_unix_ms);
}

}  // namespace tephra::coordinator
