// The planner's half of the schedule: the executor's rules about what is in memory when, applied to sizes.
#include <algorithm>

#include "sharding/plan/schedule.h"

namespace tephra::sharding {
namespace {

constexpr int64_t kElement = sizeof(float);

class Walk {
 public:
  Walk(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& batch)
      : schedule_(schedule),
        units_(units),
        policy_(policy),
        batch_(batch),
        merges_(tree_merges(policy.micro_batches)),
        gathers_end_(gathers_end(schedule)),
        gathered_(units.size(), false) {
    shards();
  }

  StepEstimate run() {
    for (size_t i = 0; i < schedule_.size(); ++i) {
      const Op& op = schedule_[i];
      switch (op.kind) {
        case OpKind::kGather: gather(op.unit); break;
        case OpKind::kForward: forward(op.unit); break;
        case OpKind::kFree: gathered_[op.unit] = false; break;
        case OpKind::kRecompute: recompute(op.unit); break;
        case OpKind::kBackward: backward(op.unit, op.micro_batch); break;
        case OpKind::kReduceScatter:
        case OpKind::kAllReduce: reduce(op); break;
        case OpKind::kStep:
        case OpKind::kFetch:
        case OpKind::kUpdate:
        case OpKind::kStore: break;  // shards() counts working buffers, which stay; note_gathered() what is fetched
      }
      note_gathered(i);
    }
    return result_;
  }

 private:
  int64_t flat_bytes(int unit) const { return units_[unit].flat_numel * kElement; }
  int64_t unit_gathered_bytes(int unit) const { return gathered_bytes(units_[unit]); }
  int64_t activation_bytes(int unit, double per_token, double most = 0) const {
    const double all = per_token * static_cast<double>(batch_.count(units_[unit].tokens));
    return static_cast<int64_t>(most > 0 ? std::min(most, all) : all) * size_bytes(units_[unit].compute_dtype);
  }
  // What a rank receives to gather, or to sum, `bytes` that `ranks` ranks divide: all but its own part.
  static double moved(double bytes, int ranks) { return bytes * (ranks - 1) / ranks; }

  void shards() {
    const bool offloaded = offloads_parameters(policy_);
    int64_t& parameters = offloaded ? memory_.host : memory_.parameter_shards;
    int64_t& copies = offloaded ? memory_.host : memory_.optimizer_shards;
    int64_t& moments = offloads(policy_) ? memory_.host : memory_.optimizer_shards;
    int64_t largest = 0;
    int trainable = 0;
    for (const UnitSpec& unit : units_) {
      const int64_t count = shard_numel(unit, shards_), bytes = count * kElement;
      const bool rounded = unit.compute_dtype != DType::kFloat32;
      if (!unit.trainable || rounded) parameters += count * size_bytes(unit.compute_dtype);
      if (!unit.trainable) continue;
      parameters += bytes;
      copies += policy_.held_snapshots * bytes;
      if (!replicated(policy_)) memory_.gradient_shards += bytes;
      moments += (1 + policy_.held_snapshots) * policy_.moments * bytes;
      int64_t working = policy_.moments * bytes;
      if (offloaded) working += bytes + (rounded ? count * size_bytes(unit.compute_dtype) : 0);
      largest = std::max(largest, working);
      ++trainable;
    }
    if (offloads(policy_)) memory_.optimizer_shards += std::min(kOffloadBuffers, trainable) * largest;
  }

  void gather(int unit) {
    gathered_[unit] = true;
    // Frozen units that stay gathered were gathered in the first step of the job.
    if (policy_.shard == ShardLevel::kParameters || units_[unit].trainable) {
      result_.gathered_bytes += moved(static_cast<double>(unit_gathered_bytes(unit)), shards_);
    }
  }

  // Of a unit whose gather is under way: the shard that was fetched for it, where that is not the unit.
  int64_t fetched_bytes(int unit) const {
    return offloads_parameters(policy_) && shards_ > 1 ? unit_gathered_bytes(unit) / shards_ : 0;
  }

  void note_gathered(size_t position) {
    // Past the last gather nothing grows.
    if (used_in_place(policy_) || position >= gathers_end_) return;
    const Op& op = schedule_[position];
    int64_t bytes = op.kind == OpKind::kGather ? fetched_bytes(op.unit) : 0;
    issued_ = std::max(issued_, prefetch_end(schedule_, position, policy_.prefetch));
    for (size_t i = position + 1; i < issued_; ++i) {
      const int unit = schedule_[i].unit;
      bytes += schedule_[i].kind == OpKind::kGather ? unit_gathered_bytes(unit) + fetched_bytes(unit) : 0;
    }
    for (size_t u = 0; u < units_.size(); ++u) bytes += gathered_[u] ? unit_gathered_bytes(static_cast<int>(u)) : 0;
    memory_.gathered_peak = std::max(memory_.gathered_peak, bytes);
  }

  // With recomputation the forward pass drops the unit's tape at its end, so one unit's tape counts at a time.
  void forward(int unit) {
    result_.macs += forward_macs(units_[unit], batch_);
    if (!units_[unit].needs_backward) return;
    note_activations(tape_bytes(unit) + fixed_bytes(unit));
    activations_ += kept_bytes(unit);
  }
  void recompute(int unit) {
    result_.macs += forward_macs(units_[unit], batch_);
    note_activations(tape_bytes(unit));
  }
  int64_t tape_bytes(int unit) const { return activation_bytes(unit, units_[unit].activation_per_token); }
  int64_t working_bytes(int unit) const {
    return activation_bytes(unit, units_[unit].working_per_token, units_[unit].working_most);
  }
  int64_t fixed_bytes(int unit) const {
    return static_cast<int64_t>(units_[unit].activation_fixed) * size_bytes(units_[unit].compute_dtype);
  }
  int64_t kept_bytes(int unit) const {
    return (recomputes(units_, policy_, unit) ? input_bytes(unit) : tape_bytes(unit)) + fixed_bytes(unit);
  }
  int64_t input_bytes(int unit) const {
    return unit == 0 ? 0 : activation_bytes(unit - 1, units_[unit - 1].output_per_token);
  }
  void note_activations(int64_t more) {
    memory_.activation_peak = std::max(memory_.activation_peak, activations_ + more);
  }

  void backward(int unit, int micro_batch) {
    const UnitSpec& spec = units_[unit];
    result_.macs += forward_macs(spec, batch_) * backward_factor(units_, unit);
    activations_ -= kept_bytes(unit);
    note_activations(tape_bytes(unit) + fixed_bytes(unit) + working_bytes(unit));
    if (!spec.trainable) return;
    gradients_ += flat_bytes(unit);  // the micro-batch's own, which becomes a partial sum or is added to one
    memory_.gradient_peak = std::max(memory_.gradient_peak, gradients_);
    gradients_ -= merges_[micro_batch] * flat_bytes(unit);
  }

  // What a reduction needs beside its result is in use until the next one is issued: the whole sum where a shard is
  // kept, and this rank's part of what several copies hold.
  void reduce(const Op& op) {
    gradients_ -= reducing_;
    reducing_ = 0;
    if (policy_.world_size == 1) return;  // the sum is the result
    const int copies = policy_.world_size / shards_;
    const int64_t whole = flat_bytes(op.unit), part = copies > 1 ? whole / policy_.world_size : 0;
    result_.reduced_bytes += moved(static_cast<double>(whole), shards_);
    result_.reduced_bytes += 2 * moved(static_cast<double>(whole) / shards_, copies);  // their sum, and its return
    gradients_ += part;
    reducing_ = part + (shards_ > 1 ? whole : 0);
    memory_.gradient_peak = std::max(memory_.gradient_peak, gradients_);
  }

  const Schedule& schedule_;
  const std::vector<UnitSpec>& units_;
  const Policy& policy_;
  const MicroBatchSize& batch_;
  const int shards_ = ranks_per_copy(policy_);
  const std::vector<int> merges_;
  const size_t gathers_end_;
  std::vector<bool> gathered_;
  size_t issued_ = 0;  // gathers before it are
  int64_t activations_ = 0;
  int64_t gradients_ = 0;
  int64_t reducing_ = 0;
  StepEstimate result_;
  MemoryEstimate& memory_ = result_.memory;
};

}  // namespace

double forward_macs(const UnitSpec& unit, const MicroBatchSize& batch) {
  return (unit.macs_per_token + unit.attention_macs * static_cast<double>(batch.length)) *
         static_cast<double>(batch.count(unit.tokens));
}

int backward_factor(const std::vector<UnitSpec>& units, int unit) {
  if (!units[unit].needs_backward) return 0;
  return (units[unit].trainable ? 1 : 0) + (unit > 0 && units[unit - 1].needs_backward ? 1 : 0);
}

StepEstimate estimate(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                      const MicroBatchSize& batch) {
  return Walk(schedule, units, policy, batch).run();
}

}  // namespace tephra::sharding
