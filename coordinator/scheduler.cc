#include "coordinator/scheduler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <string_view>
#include <tuple>
#include <unordered_map>

namespace tephra::coordinator {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr double kAssumedSeconds = 3600;  // of a job without a time limit, where users are put in turn
constexpr double kForgottenSlotSeconds = 1e-3;

class Scheduler {
 public:
  explicit Scheduler(const SchedulerInput& input) : in_(input), free_(input.options.slots) {
    out_.waits.resize(in_.queued.size());
    for (const RunningJob& job : in_.running) {
      free_ -= need(job.slots);
      held_[job.user] += need(job.slots);
    }
  }

  Decision run() && {
    const std::vector<size_t> order = fair_order(eligible());
    int position = 0;
    for (const size_t index : order) {
      place(index);
      if (out_.waits[index].why != Wait::Why::kNone) out_.waits[index].position = ++position;
    }
    if (!first_waiting_) grow();
    return std::move(out_);
  }

 private:
  int need(int slots) const { return std::min(slots, in_.options.slots); }
  static int least(const QueuedJob& job) { return job.slots_min > 0 ? job.slots_min : job.slots; }

  // Those that no dependency holds back.
  std::vector<size_t> eligible() {
    std::vector<size_t> indices;
    indices.reserve(in_.queued.size());
    for (size_t i = 0; i < in_.queued.size(); ++i)
      if (!held_back(in_.queued[i], &out_.waits[i])) indices.push_back(i);
    return indices;
  }

  static bool held_back(const QueuedJob& job, Wait* wait) {
    for (const Dependency& dependency : job.after) {
      if (dependency.state == DependencyState::kDone) continue;
      const bool failed = dependency.state == DependencyState::kFailed;
      if (!failed && wait->why == Wait::Why::kDependency) continue;  // the first unfinished one is named
      wait->why = failed ? Wait::Why::kFailedDependency : Wait::Why::kDependency;
      wait->other = dependency.job;
      if (failed) return true;
    }
    return wait->why == Wait::Why::kDependency;
  }

  int64_t aged_priority(const QueuedJob& job) const {
    const int64_t waited = std::max<int64_t>(0, in_.now_ms - job.queued_ms);
    return job.priority + (in_.options.age_ms > 0 ? waited / in_.options.age_ms : 0);
  }

  double usage_of(const std::string& user) const {
    const auto found = in_.usage.find(user);
    return found == in_.usage.end() ? 0 : found->second;
  }

  std::vector<size_t> fair_order(std::vector<size_t> indices) const {
    std::vector<int64_t> priority(in_.queued.size());
    for (const size_t i : indices) priority[i] = aged_priority(in_.queued[i]);
    std::sort(indices.begin(), indices.end(), [&](size_t a, size_t b) {
      return std::tuple(-priority[a], in_.queued[a].order) < std::tuple(-priority[b], in_.queued[b].order);
    });
    std::vector<size_t> order;
    order.reserve(indices.size());
    std::unordered_map<std::string_view, double> charged;  // use so far and what stands before in the order
    for (size_t begin = 0; begin < indices.size();) {
      size_t end = begin;
      while (end < indices.size() && priority[indices[end]] == priority[indices[begin]]) ++end;
      merge_users({indices.begin() + begin, indices.begin() + end}, &charged, &order);
      begin = end;
    }
    return order;
  }

  // Jobs of one priority, in order of submission: the user who is charged least has the next turn and is charged for it.
  void merge_users(const std::vector<size_t>& level, std::unordered_map<std::string_view, double>* charged,
                   std::vector<size_t>* order) const {
    std::unordered_map<std::string_view, std::vector<size_t>> jobs;
    for (const size_t i : level) jobs[in_.queued[i].user].push_back(i);
    struct Turn {
      double charge = 0;
      uint64_t order = 0;  // of the user's next job
      std::string_view user;
      size_t next = 0;
      bool operator>(const Turn& o) const { return std::tie(charge, order) > std::tie(o.charge, o.order); }
    };
    std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
    for (const auto& [user, own] : jobs) {
      const double charge = charged->try_emplace(user, usage_of(std::string(user))).first->second;
      turns.push({charge, in_.queued[own.front()].order, user, 0});
    }
    while (!turns.empty()) {
      Turn turn = turns.top();
      turns.pop();
      const std::vector<size_t>& own = jobs.at(turn.user);
      const QueuedJob& job = in_.queued[own[turn.next]];
      order->push_back(own[turn.next]);
      turn.charge += need(job.slots) * (job.time_limit_ms > 0 ? job.time_limit_ms / 1000.0 : kAssumedSeconds);
      charged->at(turn.user) = turn.charge;
      if (++turn.next == own.size()) continue;
      turn.order = in_.queued[own[turn.next]].order;
      turns.push(turn);
    }
  }

  void place(size_t index) {
    const QueuedJob& job = in_.queued[index];
    Wait& wait = out_.waits[index];
    if (!user_may_hold(job, least(job))) {
      wait.why = Wait::Why::kUserLimit;
      return;
    }
    const int slots = most_for(job);
    if (slots > 0) return start(index, slots);
    if (first_waiting_) {
      wait.why = Wait::Why::kBehind;
      wait.other = in_.queued[*first_waiting_].id;
      return;
    }
    first_waiting_ = index;
    make_room(job);
    reserve(job);
    wait.why = Wait::Why::kSlots;
    if (reserved_ != kNever) wait.start_ms = reserved_;
  }

  // The most that the job can be given now; 0: nothing.
  int most_for(const QueuedJob& job) {
    for (int slots = job.slots; slots >= least(job); slots /= 2) {
      if (!user_may_hold(job, slots) || !is_free(slots, slots == least(job))) continue;
      if (!first_waiting_ || may_go_ahead(job, slots)) return slots;
    }
    return 0;
  }

  // A job larger than the limit runs when the user has nothing else: else it would wait for ever.
  bool user_may_hold(const QueuedJob& job, int slots) {
    const int limit = in_.options.user_slots;
    if (limit <= 0) return true;
    const int held = held_[job.user];
    return held + need(slots) <= limit || (held == 0 && slots == least(job));
  }

  // Above its least a gang neither takes slots of lost hosts nor more than the machine has.
  bool is_free(int slots, bool is_least) const {
    return is_least ? need(slots) <= free_ : slots <= free_ - in_.lost_slots;
  }

  void start(size_t index, int slots) {
    free_ -= need(slots);
    if (in_.options.user_slots > 0) held_[in_.queued[index].user] += need(slots);
    out_.start.push_back({index, slots});
  }

  bool may_go_ahead(const QueuedJob& job, int slots) {
    if (reserved_ == kNever) return false;
    if (job.time_limit_ms > 0 && job.time_limit_ms <= reserved_ - in_.now_ms) return true;
    if (need(slots) > spare_) return false;
    spare_ -= need(slots);
    return true;
  }

  // Nobody waits: what is free goes to elastic gangs that have less than they may, higher priority and earlier start first.
  void grow() {
    std::vector<size_t> elastic;
    for (size_t i = 0; i < in_.running.size(); ++i)
      if (in_.running[i].slots_max > in_.running[i].slots && !in_.running[i].stopping) elastic.push_back(i);
    std::stable_sort(elastic.begin(), elastic.end(), [&](size_t a, size_t b) {
      return std::tuple(-in_.running[a].priority, in_.running[a].started_ms) <
             std::tuple(-in_.running[b].priority, in_.running[b].started_ms);
    });
    for (const size_t i : elastic) {
      const RunningJob& job = in_.running[i];
      int room = free_ - in_.lost_slots;
      if (in_.options.user_slots > 0) room = std::min(room, in_.options.user_slots - held_[job.user]);
      const int slots = most_that_fits(job.slots_max, job.slots, need(job.slots) + room);
      if (slots == job.slots) continue;
      free_ -= slots - need(job.slots);
      held_[job.user] += slots - need(job.slots);
      out_.grow.push_back({i, slots});
    }
  }

  void make_room(const QueuedJob& job) {
    int coming = free_;
    const int wanted = need(least(job));
    std::vector<size_t> candidates;
    for (size_t i = 0; i < in_.running.size(); ++i) {
      const RunningJob& running = in_.running[i];
      if (running.stopping)
        coming += need(running.slots);
      else if (running.preemptible && running.priority < job.priority)
        candidates.push_back(i);
    }
    if (coming >= wanted) return;
    std::stable_sort(candidates.begin(), candidates.end(), [&](size_t a, size_t b) {
      return std::tuple(in_.running[a].priority, -in_.running[a].started_ms) <
             std::tuple(in_.running[b].priority, -in_.running[b].started_ms);
    });
    std::vector<size_t> victims;
    for (const size_t i : candidates) {
      if (coming >= wanted) break;
      coming += need(in_.running[i].slots);
      victims.push_back(i);
    }
    if (coming < wanted) return;
    // The last taken are the dearest to stop; what the others make needless is left alone.
    for (size_t v = victims.size(); v-- > 0;) {
      const int slots = need(in_.running[victims[v]].slots);
      if (coming - slots < wanted) continue;
      coming -= slots;
      victims.erase(victims.begin() + static_cast<std::ptrdiff_t>(v));
    }
    out_.preempt = std::move(victims);
  }

  int64_t end_of(size_t running) const {
    const RunningJob& job = in_.running[running];
    const bool preempted = std::find(out_.preempt.begin(), out_.preempt.end(), running) != out_.preempt.end();
    if (job.stopping || preempted) return in_.now_ms;
    if (job.time_limit_ms <= 0 || job.started_ms > kNever - job.time_limit_ms) return kNever;
    return std::max(in_.now_ms, job.started_ms + job.time_limit_ms);
  }

  // When `job` can start at the latest, and what is left beside it then.
  void reserve(const QueuedJob& job) {
    std::vector<std::pair<int64_t, int>> ends;  // when, how many slots
    for (size_t i = 0; i < in_.running.size(); ++i) ends.emplace_back(end_of(i), need(in_.running[i].slots));
    for (const Grant& grant : out_.start) {
      const int64_t limit = in_.queued[grant.job].time_limit_ms;
      ends.emplace_back(limit > 0 ? in_.now_ms + limit : kNever, need(grant.slots));
    }
    std::sort(ends.begin(), ends.end());
    int free = free_;
    for (size_t i = 0; i < ends.size() && ends[i].first != kNever; ++i) {
      free += ends[i].second;
      const bool more_at_once = i + 1 < ends.size() && ends[i + 1].first == ends[i].first;
      if (free < need(least(job)) || more_at_once) continue;
      reserved_ = ends[i].first;
      spare_ = free - need(least(job));
      return;
    }
  }

  const SchedulerInput& in_;
  Decision out_;
  int free_ = 0;
  std::unordered_map<std::string, int> held_;  // slots by user
  std::optional<size_t> first_waiting_;
  int64_t reserved_ = kNever;
  int spare_ = 0;  // free at `reserved_` beside the first waiting job
};

std::string duration(int64_t ms) {
  const int64_t minutes = (ms + 59999) / 60000;
  if (minutes < 60) return std::to_string(minutes) + " min";
  return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

}  // namespace

std::string describe(const Wait& wait, int64_t now_ms) {
  switch (wait.why) {
    case Wait::Why::kNone: return "";
    case Wait::Why::kDependency: return "waits for job " + wait.other + " to be done";
    case Wait::Why::kFailedDependency: return "job " + wait.other + ", which it runs after, did not end well";
    case Wait::Why::kUserLimit: return "its user's jobs hold as many slots as one user may";
    case Wait::Why::kSlots:
      if (!wait.start_ms) return "waits for slots; when is not known, since a running job has no time limit";
      if (*wait.start_ms <= now_ms) return "waits for slots, which are due now";
      return "waits for slots, at most " + duration(*wait.start_ms - now_ms);
    case Wait::Why::kBehind: return "waits behind job " + wait.other + ", which gets the next slots";
  }
  return "?";
}

Decision decide(const SchedulerInput& input) { return Scheduler(input).run(); }

int most_that_fits(int slots, int least, int free) {
  for (; slots > least; slots /= 2)
    if (slots <= free) return slots;
  return least;
}

void UsageBook::advance(int64_t now_ms, const std::vector<RunningJob>& running) {
  const int64_t passed = at_ms_ == 0 ? 0 : now_ms - at_ms_;
  at_ms_ = now_ms;
  if (passed <= 0) return;
  const double kept = std::exp2(-static_cast<double>(passed) / static_cast<double>(half_life_ms_));
  for (auto& [user, used] : usage_) used *= kept;
  for (const RunningJob& job : running) usage_[job.user] += job.slots * (static_cast<double>(passed) / 1000.0);
  std::erase_if(usage_, [](const auto& entry) { return entry.second < kForgottenSlotSeconds; });
}

void UsageBook::recall(const std::string& user, int slots, int64_t begun_ago_ms, int64_t ended_ago_ms) {
  ended_ago_ms = std::max<int64_t>(0, ended_ago_ms);  // the wall clock may have gone back since
  if (begun_ago_ms <= ended_ago_ms) return;
  const double half_life_s = static_cast<double>(half_life_ms_) / 1000.0;
  const auto kept = [&](int64_t ago_ms) {
    return std::exp2(-static_cast<double>(ago_ms) / static_cast<double>(half_life_ms_));
  };
  // The integral of 2^(-t / half-life) over the stretch.
  usage_[user] += slots * half_life_s / std::log(2.0) * (kept(ended_ago_ms) - kept(begun_ago_ms));
}

}  // namespace tephra::coordinator
