#include "sharding/plan/step_time.h"

#include <algorithm>

namespace tephra::sharding {
namespace {

class Clock {
 public:
  Clock(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy, const OpSeconds& seconds)
      : schedule_(schedule), units_(units), policy_(policy), seconds_(seconds), gathered_at_(units.size(), 0) {}

  StepTime run() {
    size_t issued = 0;
    const size_t last = gathers_end(schedule_);
    for (size_t position = 0; position < schedule_.size(); ++position) {
      for (const size_t end = issued >= last ? issued : prefetch_end(schedule_, position, policy_.prefetch);
           issued < end; ++issued) {
        if (schedule_[issued].kind == OpKind::kGather) issue_gather(schedule_[issued].unit);
      }
      const Op& op = schedule_[position];
      switch (op.kind) {
        case OpKind::kGather: wait_until(gathered_at_[op.unit]); break;
        case OpKind::kForward:
        case OpKind::kRecompute: compute(seconds_.forward[op.unit]); break;
        case OpKind::kBackward: compute(seconds_.backward[op.unit]); break;
        case OpKind::kReduceScatter:
        case OpKind::kAllReduce: reduce(op.unit); break;
        case OpKind::kFree: break;
        case OpKind::kStep: update(); break;
      }
    }
    time_.total = now_;
    return time_;
  }

 private:
  void compute(double seconds) {
    now_ += seconds;
    time_.compute += seconds;
  }
  void wait_until(double moment) {
    if (moment <= now_) return;
    time_.exposed += moment - now_;
    now_ = moment;
  }
  // Returns when the collective, issued now, is done.
  double communicate(double seconds) {
    lane_free_ = std::max(lane_free_, now_) + seconds;
    time_.communication += seconds;
    return lane_free_;
  }

  void issue_gather(int unit) {
    if (replicated(policy_)) return;
    // Frozen units that stay gathered were gathered in the first step of the job.
    const bool kept = policy_.shard != ShardLevel::kParameters && !units_[unit].trainable;
    if (!kept) gathered_at_[unit] = communicate(seconds_.gather[unit]);
  }
  void reduce(int unit) {
    wait_until(reduced_at_);
    if (policy_.world_size > 1) reduced_at_ = communicate(seconds_.reduce[unit]);
  }
  void update() {
    wait_until(reduced_at_);
    if (policy_.world_size > 1) wait_until(communicate(seconds_.exchange));
    compute(seconds_.update);
  }

  const Schedule& schedule_;
  const std::vector<UnitSpec>& units_;
  const Policy& policy_;
  const OpSeconds& seconds_;
  std::vector<double> gathered_at_;
  double now_ = 0, lane_free_ = 0, reduced_at_ = 0;
  StepTime time_;
};

}  // namespace

StepTime step_time(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                   const OpSeconds& seconds) {
  return Clock(schedule, units, policy, seconds).run();
}

}  // namespace tephra::sharding
