// The jobs that a coordinator knows, in order of submission. All of a job that has not ended is in its runner; of the others, of
// which there may be very many, only what lists are filtered by is kept, and the journal has the rest. On the dispatcher thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "coordinator/coordinator.h"

namespace tephra::coordinator {

class JobRunner;

struct JobEntry {
  std::string id, user, recipe_name;
  uint64_t order = 0;                   // of submission
  std::shared_ptr<JobRunner> runner{};  // nullptr: it has ended, as follows
  Phase ended_as = Phase::kDone;
  uint32_t attempt = 0;
  int64_t finished_unix_ms = 0;

  Phase phase() const;
};
JobEntry live_entry(std::shared_ptr<JobRunner> runner);
JobEntry ended_entry(const JobState& state, uint64_t order);

class JobTable {
 public:
  // Behind those that are there: its order is above theirs.
  void add(JobEntry entry);
  const JobEntry* find(std::string_view job) const;  // nullptr: there is none
  JobRunner* runner(std::string_view job) const;     // nullptr: there is no such job, or it has ended
  // Lets go of the runner of a job that has ended. All of its state is in the journal.
  void retire(std::string_view job);

  const std::deque<JobEntry>& entries() const { return entries_; }

  // Of jobs without a runner a view has state.id and state.phase and nothing else.
  JobPage select(const JobQuery& query) const;
  Workload workload() const;

 private:
  std::deque<JobEntry> entries_;  // never taken out, so that they stay where they are
  std::unordered_map<std::string_view, JobEntry*> by_id_;
};

}  // namespace tephra::coordinator
