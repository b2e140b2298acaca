#include "sharding/plan/prefetch.h"

#include <algorithm>
#include <cstdio>

namespace tephra::sharding {
namespace {

constexpr double kWorthwhile = 0.001;  // of a step

std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f ms", 1000 * seconds);
  return text;
}

class Search {
 public:
  Search(const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& longest, int64_t memory_bytes,
         const OpSeconds* seconds)
      : units_(units),
        policy_(policy),
        longest_(longest),
        memory_bytes_(memory_bytes),
        schedule_(make_schedule(units, policy)),
        seconds_(seconds) {}

  PrefetchChoice choose() {
    if (gathers_end(schedule_) == 0 || used_in_place(policy_)) return {0, "nothing is gathered"};
    if (seconds_ == nullptr) {
      if (fits(1)) return {1, "no times are known without devices"};
      return {0, "a unit gathered ahead does not fit the memory"};
    }
    StepTime best = time(0);
    PrefetchChoice choice{0, ""};
    const int most = std::min(kMaxPrefetch, static_cast<int>(units_.size()));
    for (int depth = 1; depth <= most; ++depth) {
      if (!fits(depth)) {
        choice.reason = describe(best) + "; " + std::to_string(depth) + " units ahead do not fit the memory";
        return choice;
      }
      const StepTime next = time(depth);
      if (next.total > best.total * (1 - kWorthwhile)) continue;
      best = next;
      choice.depth = depth;
    }
    choice.reason = describe(best) + "; more units ahead would hide no more";
    return choice;
  }

 private:
  bool fits(int depth) {
    policy_.prefetch = depth;
    return memory_bytes_ == 0 || estimate(schedule_, units_, policy_, longest_).memory.total() <= memory_bytes_;
  }
  StepTime time(int depth) {
    policy_.prefetch = depth;
    return step_time(schedule_, units_, policy_, *seconds_);
  }
  static std::string describe(const StepTime& time) {
    const double shown = time.exposed + time.exposed_transfer;
    return milliseconds(shown) + " of " + milliseconds(time.communication + time.transfer) + " of communication show";
  }

  const std::vector<UnitSpec>& units_;
  Policy policy_;
  const MicroBatchSize longest_;
  const int64_t memory_bytes_;
  const Schedule schedule_;  // the same at every depth
  const OpSeconds* const seconds_;
};

}  // namespace

PrefetchChoice choose_prefetch(const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& longest,
                               int64_t memory_bytes, const OpSeconds* seconds) {
  return Search(units, policy, longest, memory_bytes, seconds).choose();
}

}  // namespace tephra::sharding
