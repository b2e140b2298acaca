#include "sharding/plan/step_time.h"

#include <algorithm>

namespace tephra::sharding {
namespace {

class Clock {
 public:
  Clock(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy, const OpSeconds& seconds)
      : schedule_(schedule),
        units_(units),
        policy_(policy),
        seconds_(seconds),
        gathered_at_(units.size(), 0),
        fetched_at_(units.size(), 0) {}

  StepTime run() {
    size_t issued = 0;
    const size_t last = gathers_end(schedule_);
    for (size_t position = 0; position < schedule_.size(); ++position) {
      for (const size_t end = issued >= last ? issued : prefetch_end(schedule_, position, policy_.prefetch);
           issued < end; ++issued) {
        const auto [kind, unit, micro_batch] = schedule_[issued];
        if (kind == OpKind::kFetch) fetched_at_[unit] = transfer(seconds_.fetch[unit]);
        if (kind == OpKind::kGather) issue_gather(unit);
      }
      const Op& op = schedule_[position];
      switch (op.kind) {
        case OpKind::kGather: finish_gather(op.unit); break;
        case OpKind::kForward:
        case OpKind::kRecompute: compute(seconds_.forward[op.unit]); break;
        case OpKind::kBackward: compute(seconds_.backward[op.unit]); break;
        case OpKind::kReduceScatter:
        case OpKind::kAllReduce: reduce(op.unit); break;
        case OpKind::kFree: break;
        case OpKind::kStep: update(); break;
        case OpKind::kFetch:
          if (position >= last) fetch(position);  // before a gather it is issued, and waited for there
          break;
        case OpKind::kUpdate: compute(update_share(op.unit)); break;
        case OpKind::kStore: stored_at_ = transfer(seconds_.transfer[op.unit]); break;
      }
    }
    wait_for_transfer(stored_at_);
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
  // Returns when the collective, issued now and not begun before `earliest`, is done.
  double communicate(double seconds, double earliest = 0) {
    lane_free_ = std::max({lane_free_, now_, earliest}) + seconds;
    time_.communication += seconds;
    return lane_free_;
  }

  void issue_gather(int unit) {
    if (replicated(policy_)) return;
    // Frozen units that stay gathered were gathered in the first step of the job.
    const bool kept = policy_.shard != ShardLevel::kParameters && !units_[unit].trainable;
    if (!kept) gathered_at_[unit] = communicate(seconds_.gather[unit], fetched_at_[unit]);
  }
  void finish_gather(int unit) {
    wait_for_transfer(fetched_at_[unit]);
    wait_until(gathered_at_[unit]);
  }
  void reduce(int unit) {
    wait_until(reduced_at_);
    if (policy_.world_size > 1) reduced_at_ = communicate(seconds_.reduce[unit]);
  }
  void update() {
    wait_until(reduced_at_);
    if (policy_.world_size > 1) wait_until(communicate(seconds_.exchange));
    if (!offloads(policy_)) compute(seconds_.update);
  }

  // As the executor: what the update takes of this unit, if it is not on its way yet, and of the next one, in the order
  // of issue.
  void fetch(size_t position) {
    int ahead = 0;
    for (size_t i = position; i < schedule_.size() && ahead < 2; ++i) {
      if (schedule_[i].kind != OpKind::kFetch) continue;
      ++ahead;
      if (i < fetches_issued_) continue;
      fetched_at_[schedule_[i].unit] = transfer(seconds_.transfer[schedule_[i].unit]);
      fetches_issued_ = i + 1;
    }
    wait_for_transfer(fetched_at_[schedule_[position].unit]);
  }
  double transfer(double seconds) {
    transfers_free_ = std::max(transfers_free_, now_) + seconds;
    time_.transfer += seconds;
    return transfers_free_;
  }
  void wait_for_transfer(double moment) {
    if (moment <= now_) return;
    time_.exposed_transfer += moment - now_;
    now_ = moment;
  }
  // Of the update's seconds, which are by parameter.
  double update_share(int unit) const {
    double all = 0;
    for (const UnitSpec& u : units_) all += u.trainable ? static_cast<double>(u.flat_numel) : 0;
    return all > 0 ? seconds_.update * static_cast<double>(units_[unit].flat_numel) / all : 0;
  }

  const Schedule& schedule_;
  const std::vector<UnitSpec>& units_;
  const Policy& policy_;
  const OpSeconds& seconds_;
  std::vector<double> gathered_at_, fetched_at_;
  size_t fetches_issued_ = 0;  // those before this position are
  double now_ = 0, lane_free_ = 0, reduced_at_ = 0, transfers_free_ = 0, stored_at_ = 0;
  StepTime time_;
};

}  // namespace

StepTime step_time(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                   const OpSeconds& seconds) {
  return Clock(schedule, units, policy, seconds).run();
}

}  // namespace tephra::sharding
