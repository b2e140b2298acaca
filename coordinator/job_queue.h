// The queue between the jobs and the scheduler: asks scheduler.h when it is told to, tells the jobs what it says, and
// keeps why each waits. Threading: the dispatcher thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "coordinator/job_runner.h"
#include "coordinator/scheduler.h"

namespace tephra::coordinator {

class JobQueue {
 public:
  // nullptr: there is no such job.
  using Find = std::function<const JobState*(const std::string& job)>;
  using Runners = std::vector<std::shared_ptr<JobRunner>>;

  explicit JobQueue(SchedulerOptions options) { input_.options = options; }

  // Starts, preempts and fails what the scheduler says. `runners`: those that have not ended, in order of submission.
  void schedule(const Runners& runners, const Find& find, int64_t now_unix_ms);

  // Fills in place and reason of a queued job, as of the last schedule().
  void explain(JobView* view, int64_t now_unix_ms) const;

 private:
  void read(const Runners& runners, const Find& find, int64_t now_unix_ms);
  void forget_what_was_heard(const Runners& runners);

  SchedulerInput input_;
  Decision decision_;
  std::unordered_map<std::string_view, size_t> waiting_;  // ids of input_.queued, to their places in it
  UsageBook usage_;
  std::vector<JobRunner*> queued_, running_;  // as in input_
  // Told, and not yet journaled: they count as if it had happened.
  std::set<std::string> told_to_start_, told_to_yield_;
};

}  // namespace tephra::coordinator
