// The queue between the jobs and the scheduler: asks scheduler.h when it is told to, tells the jobs what it says, and
// keeps why each waits. Threading: the dispatcher thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/job_runner.h"
#include "coordinator/scheduler.h"

namespace tephra::coordinator {

class JobQueue {
 public:
  // Nothing: there is no such job.
  using Find = std::function<std::optional<Phase>(const std::string& job)>;
  using Runners = std::vector<std::shared_ptr<JobRunner>>;

  // `wall`: of the times that jobs keep. `lost_slots`: of options.slots, on hosts that were lost.
  JobQueue(SchedulerOptions options, const Clock& wall, std::function<int()> lost_slots)
      : wall_(wall), lost_slots_(std::move(lost_slots)) {
    input_.options = options;
  }

  // Starts, grows, preempts and fails what the scheduler says. `runners`: those that have not ended, in order of
  // submission.
  void schedule(const Runners& runners, const Find& find, SteadyTime now);

  // Ranks that an elastic job has slots for when it starts again beside the others: its world_max, a half, a quarter, ...;
  // its world_min when nothing fits.
  int ranks_left(const JobState& job, const Runners& runners) const;

  // For what users' jobs held before this coordinator began; before the first schedule().
  UsageBook& usage() { return usage_; }

  double decision_seconds() const { return decision_seconds_; }  // of the last schedule(), all of it

  // Fills in place and reason of a queued job, as of the last schedule().
  void explain(JobView* view, SteadyTime now) const;

 private:
  struct Told {
    int slots = 0;  // that it is given; 0: what it has
    bool yields = false;
  };

  void read(const Runners& runners, const Find& find, SteadyTime now);
  void add_running(JobRunner& runner, SteadyTime now);

  const Clock& wall_;
  const std::function<int()> lost_slots_;
  SchedulerInput input_;
  Decision decision_;
  std::unordered_map<std::string_view, size_t> waiting_;  // ids of input_.queued, to their places in it
  UsageBook usage_;
  double decision_seconds_ = 0;
  std::vector<JobRunner*> queued_, running_;  // as in input_
  // Told, and not answered yet: they count as if it had happened.
  std::map<std::string, Told> told_;
};

}  // namespace tephra::coordinator
