// Which jobs start, which make room and why the others wait: a pure function of the queue, the gangs that run, the
// slots and the time. No clocks, no processes; job_queue.h asks it after changes and carries the answer out.
//
// - A gang gets all its slots or none. One that is larger than the machine (gang.oversubscribe) needs all of it.
// - Order: higher priority first, where `age_ms` of waiting counts as one step of priority; within one priority the
//   user with the least recent use of slots first; a user's own jobs in order of submission.
// - The first job in that order that does not fit has a reservation: the earliest time at which the running jobs' time
//   limits leave it enough slots. A later job may go ahead of it (back-fill, EASY: Lifka 1995) only when it ends before
//   that time by its own limit, or takes slots that the reserved job does not need then. While the reserved start
//   cannot be foretold nothing goes ahead.
// - Preemption: when running jobs of lower priority hold enough slots for that first job, the fewest of the lowest
//   priority, the latest started first, are asked to make room. Waiting never makes a job preempt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tephra::coordinator {

enum class DependencyState { kUnfinished = 1, kDone, kFailed };  // kFailed: failed, cancelled or not known

struct Dependency {
  std::string job;
  DependencyState state = DependencyState::kUnfinished;
};

struct QueuedJob {
  std::string id;
  std::string user;
  int slots = 1;
  int priority = 0;
  uint64_t order = 0;  // of submission; unique
  int64_t queued_unix_ms = 0;
  int64_t time_limit_ms = 0;  // 0: none
  std::vector<Dependency> after = {};
};

struct RunningJob {
  std::string id;
  std::string user;
  int slots = 1;
  int priority = 0;
  int64_t started_unix_ms = 0;
  int64_t time_limit_ms = 0;  // 0: none
  bool preemptible = true;    // false: it is too far on to make room
  bool stopping = false;      // it was asked to make room and still holds its slots
};

struct SchedulerOptions {
  int slots = 1;                 // of the machine
  int user_slots = 0;            // that one user's jobs may hold together; 0: no limit
  int64_t age_ms = 3600 * 1000;  // of waiting that count as one step of priority; 0: waiting changes nothing
};

struct SchedulerInput {
  SchedulerOptions options;
  int64_t now_unix_ms = 0;
  std::vector<QueuedJob> queued = {};
  std::vector<RunningJob> running = {};
  std::map<std::string, double> usage = {};  // slot-seconds by user, decayed (UsageBook)
};

struct Wait {
  enum class Why {
    kNone = 1,          // it starts now
    kDependency,        // `other` has not ended
    kFailedDependency,  // `other` did not end well: the job has to be failed
    kUserLimit,         // its user's jobs hold as much as they may
    kSlots,             // it is the first that does not fit; `start_unix_ms`, when it is known
    kBehind,            // `other`, a job before it, gets the next slots
  };
  Why why = Why::kNone;
  std::string other = {};
  std::optional<int64_t> start_unix_ms = {};  // reserved, at the latest, if running jobs keep to their limits
  int position = 0;  // among those that wait, from 1; 0: it starts, or a dependency holds it back
};
std::string describe(const Wait& wait, int64_t now_unix_ms);  // one line for people; empty when it starts

struct Decision {
  std::vector<size_t> start;    // of `queued`, in order
  std::vector<size_t> preempt;  // of `running`
  std::vector<Wait> waits;      // one for each of `queued`
};

Decision decide(const SchedulerInput& input);

// Slot-seconds by user, halved each `half_life_ms`. Kept in memory: what a coordinator forgets when it ends, its
// successor's users have back within a few half-lives.
class UsageBook {
 public:
  explicit UsageBook(int64_t half_life_ms = 24 * 3600 * 1000LL) : half_life_ms_(half_life_ms) {}
  // Charges what runs for the time since the last call. A clock that went backwards charges nothing.
  void advance(int64_t now_unix_ms, const std::vector<RunningJob>& running);
  const std::map<std::string, double>& by_user() const { return usage_; }

 private:
  int64_t half_life_ms_;
  int64_t at_unix_ms_ = 0;  // 0: not asked yet
  std::map<std::string, double> usage_;
};

}  // namespace tephra::coordinator
