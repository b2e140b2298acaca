// Which jobs start and with how many slots, which make room or grow, and why the others wait: a pure function of the
// queue, the gangs that run, the slots and the time. No clocks, no processes; job_queue.h asks it after changes and
// carries the answer out. Times are milliseconds of one clock, the caller's, that never goes back.
//
// - A gang gets all its slots or none. One that is larger than the machine (gang.oversubscribe) needs all of it.
// - An elastic gang may be given half of its slots, a quarter, ... down to its least; it starts with the most of these
//   that is free. It holds to what it has until nobody waits for slots; then it may grow into those that are free.
//   Reservations, and room that others make, are for its least.
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
  int slots = 1;      // the most that it takes
  int slots_min = 0;  // elastic: the least; 0: all of `slots`
  int priority = 0;
  uint64_t order = 0;  // of submission; unique
  int64_t queued_ms = 0;
  int64_t time_limit_ms = 0;  // 0: none
  std::vector<Dependency> after = {};
};

struct RunningJob {
  std::string id;
  std::string user;
  int slots = 1;
  int slots_max = 0;  // elastic: the most that it may be given now; 0: no more than it has
  int priority = 0;
  int64_t started_ms = 0;
  int64_t time_limit_ms = 0;  // 0: none
  bool preemptible = true;    // false: it is too far on to make room
  bool stopping = false;      // it was asked to make room and still holds its slots
};

struct SchedulerOptions {
  int slots = 1;                          // of the machine
  int user_slots = 0;                     // that one user's jobs may hold together; 0: no limit
  int64_t age_ms = int64_t{3600} * 1000;  // of waiting that count as one step of priority; 0: waiting changes nothing
};

struct SchedulerInput {
  SchedulerOptions options;
  int lost_slots = 0;  // of options.slots, on hosts that were lost: elastic gangs get by without them
  int64_t now_ms = 0;
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
    kSlots,             // it is the first that does not fit; `start_ms`, when it is known
    kBehind,            // `other`, a job before it, gets the next slots
  };
  Why why = Why::kNone;
  std::string other = {};
  std::optional<int64_t> start_ms = {};  // reserved, at the latest, if running jobs keep to their limits
  int position = 0;                      // among those that wait, from 1; 0: it starts, or a dependency holds it back
};
std::string describe(const Wait& wait, int64_t now_ms);  // one line for people; empty when it starts

// What a job is given.
struct Grant {
  size_t job = 0;  // its place in `queued` or `running`
  int slots = 0;
  bool operator==(const Grant&) const = default;
};

struct Decision {
  std::vector<Grant> start;     // of `queued`, in order
  std::vector<size_t> preempt;  // of `running`
  std::vector<Grant> grow;      // of `running`: elastic gangs that get more than they have
  std::vector<Wait> waits;      // one for each of `queued`
};

Decision decide(const SchedulerInput& input);

// What an elastic gang of at most `slots` goes on with where `free` are left for it: the most of slots, half of them, a
// quarter, ... that fits, and `least` when nothing does.
int most_that_fits(int slots, int least, int free);

// Slot-seconds by user, halved each `half_life_ms`. A coordinator that starts recalls what its journal tells of jobs
// before (slot_history.h).
class UsageBook {
 public:
  explicit UsageBook(int64_t half_life_ms = int64_t{24} * 3600 * 1000) : half_life_ms_(half_life_ms) {}
  // Charges what runs for the time since the last call. A clock that went backwards charges nothing.
  void advance(int64_t now_ms, const std::vector<RunningJob>& running);
  // Charges a stretch of the past, as advance() would have: it began and ended so long ago.
  void recall(const std::string& user, int slots, int64_t begun_ago_ms, int64_t ended_ago_ms);
  // What ended so long ago is as good as forgotten.
  int64_t memory_ms() const { return 10 * half_life_ms_; }
  const std::map<std::string, double>& by_user() const { return usage_; }

 private:
  int64_t half_life_ms_;
  int64_t at_ms_ = 0;  // 0: not asked yet
  std::map<std::string, double> usage_;
};

}  // namespace tephra::coordinator
