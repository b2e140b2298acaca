#include "sharding/plan/schedule.h"

#include <algorithm>
#include <string_view>

namespace tephra::sharding {
namespace {

// The last unit's backward comes right after its forward, so its tape is kept and running it again would be waste.
bool recomputes(const Policy& policy, int unit, int last) { return policy.recompute && unit != last; }

std::string_view kind_name(OpKind kind) {
  switch (kind) {
    case OpKind::kGather: return "gather";
    case OpKind::kForward: return "forward";
    case OpKind::kFree: return "free";
    case OpKind::kRecompute: return "recompute";
    case OpKind::kBackward: return "backward";
    case OpKind::kReduceScatter: return "reduce_scatter";
    case OpKind::kStep: return "step";
  }
  return "?";
}

std::string op_text(const Op& op, const std::vector<UnitSpec>& units) {
  std::string text(kind_name(op.kind));
  if (op.unit >= 0 && op.unit < static_cast<int>(units.size())) text += " " + units[op.unit].name;
  if (op.micro_batch >= 0) text += " micro_batch " + std::to_string(op.micro_batch);
  return text;
}

bool same(const Op& a, const Op& b) { return a.kind == b.kind && a.unit == b.unit && a.micro_batch == b.micro_batch; }

// What has to be computed and reduced, in order, gathers and frees left out.
Schedule required_work(const std::vector<UnitSpec>& units, const Policy& policy) {
  Schedule work;
  const int last = static_cast<int>(units.size()) - 1;
  for (int m = 0; m < policy.micro_batches; ++m) {
    for (int u = 0; u <= last; ++u) work.push_back({OpKind::kForward, u, m});
    for (int u = last; u >= 0 && units[u].needs_backward; --u) {
      if (recomputes(policy, u, last)) work.push_back({OpKind::kRecompute, u, m});
      work.push_back({OpKind::kBackward, u, m});
      if (units[u].trainable && m + 1 == policy.micro_batches) work.push_back({OpKind::kReduceScatter, u, -1});
    }
  }
  work.push_back({OpKind::kStep, -1, -1});
  return work;
}

// Walks a schedule and says what is wrong with one operation at a time.
class Checker {
 public:
  Checker(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy)
      : schedule_(schedule),
        units_(units),
        policy_(policy),
        work_(required_work(units, policy)),
        gathered_(units.size(), false) {}

  std::string check(size_t position) {
    const Op& op = schedule_[position];
    if (op.kind == OpKind::kGather) return check_gather(position);
    if (op.kind == OpKind::kFree) return check_free(position);
    if (next_work_ >= work_.size()) return "nothing is left to do here";
    if (!same(op, work_[next_work_])) return "expected " + op_text(work_[next_work_], units_);
    ++next_work_;
    if (op.kind == OpKind::kStep) return check_end();
    if (!gathered_[op.unit]) return "the unit is not gathered";
    return check_others(position);
  }

  bool finished() const { return next_work_ == work_.size(); }

 private:
  bool known(int unit) const { return unit >= 0 && unit < static_cast<int>(units_.size()); }

  std::string check_gather(size_t position) {
    const Op& op = schedule_[position];
    if (!known(op.unit) || op.micro_batch != -1) return "the operation names no unit of the chain";
    if (gathered_[op.unit]) return "the unit is gathered already";
    gathered_[op.unit] = true;
    const bool used = position + 1 < schedule_.size() && schedule_[position + 1].unit == op.unit &&
                      schedule_[position + 1].kind != OpKind::kFree;
    return used ? "" : "the unit is not used next";
  }

  std::string check_free(size_t position) {
    const Op& op = schedule_[position];
    if (!known(op.unit) || op.micro_batch != -1) return "the operation names no unit of the chain";
    if (!policy_.shard_parameters) return "units stay gathered when parameters are not sharded";
    if (!gathered_[op.unit]) return "the unit is not gathered";
    gathered_[op.unit] = false;
    return schedule_[position - 1].unit == op.unit ? "" : "the unit was not used just before";
  }

  // While one unit runs, which others may be in memory.
  std::string check_others(size_t position) const {
    if (!policy_.shard_parameters) return "";
    for (int u = 0; u < static_cast<int>(units_.size()); ++u) {
      if (u == schedule_[position].unit || !gathered_[u]) continue;
      if (policy_.reshard_after_forward || !units_[u].needs_backward)
        return units_[u].name + " should have been freed before";
    }
    return "";
  }

  std::string check_end() const {
    if (!policy_.shard_parameters) return "";
    const auto left = std::find(gathered_.begin(), gathered_.end(), true);
    return left == gathered_.end() ? "" : units_[left - gathered_.begin()].name + " was not freed";
  }

  const Schedule& schedule_;
  const std::vector<UnitSpec>& units_;
  const Policy& policy_;
  const Schedule work_;
  size_t next_work_ = 0;
  std::vector<bool> gathered_;
};

}  // namespace

Schedule make_schedule(const std::vector<UnitSpec>& units, const Policy& policy) {
  TEPHRA_CHECK(policy.micro_batches >= 1, "a step has at least one micro-batch");
  Schedule ops;
  const int last = static_cast<int>(units.size()) - 1;
  for (int m = 0; m < policy.micro_batches; ++m) {
    for (int u = 0; u <= last; ++u) {
      if (policy.shard_parameters || m == 0) ops.push_back({OpKind::kGather, u, -1});
      ops.push_back({OpKind::kForward, u, m});
      const bool stays = units[u].needs_backward && (u == last || !policy.reshard_after_forward);
      if (policy.shard_parameters && !stays) ops.push_back({OpKind::kFree, u, -1});
    }
    for (int u = last; u >= 0 && units[u].needs_backward; --u) {
      if (policy.shard_parameters && policy.reshard_after_forward && u != last) ops.push_back({OpKind::kGather, u, -1});
      if (recomputes(policy, u, last)) ops.push_back({OpKind::kRecompute, u, m});
      ops.push_back({OpKind::kBackward, u, m});
      if (units[u].trainable && m + 1 == policy.micro_batches) ops.push_back({OpKind::kReduceScatter, u, -1});
      if (policy.shard_parameters) ops.push_back({OpKind::kFree, u, -1});
    }
  }
  ops.push_back({OpKind::kStep, -1, -1});
  return ops;
}

Status check_schedule(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy) {
  Checker checker(schedule, units, policy);
  for (size_t i = 0; i < schedule.size(); ++i) {
    const std::string fault = checker.check(i);
    if (!fault.empty()) {
      return Status(Code::kInternal,
                    "schedule operation " + std::to_string(i) + " (" + op_text(schedule[i], units) + "): " + fault);
    }
  }
  if (!checker.finished()) return Status(Code::kInternal, "the schedule ends before its step");
  return ok_status();
}

std::string to_string(const Schedule& schedule, const std::vector<UnitSpec>& units) {
  std::string text;
  for (const Op& op : schedule) text += op_text(op, units) + "\n";
  return text;
}

size_t prefetch_position(const Schedule& schedule, size_t position) {
  size_t next = position + 1;
  while (next < schedule.size() && schedule[next].kind != OpKind::kGather) {
    if (schedule[next].kind == OpKind::kStep) return schedule.size();
    ++next;
  }
  if (next >= schedule.size()) return schedule.size();
  const int unit = schedule[next].unit;
  for (size_t i = position; i < next; ++i) {
    if (schedule[i].unit == unit) return schedule.size();
  }
  return next;
}

std::vector<int> tree_merges(int leaves) {
  std::vector<int> merges;
  const auto emit = [&merges](auto&& self, int n) -> void {
    if (n == 1) return merges.push_back(0);
    self(self, n % 2 == 0 ? n / 2 : n - 1);
    self(self, n % 2 == 0 ? n / 2 : 1);
    ++merges.back();
  };
  if (leaves > 0) emit(emit, leaves);
  return merges;
}

}  // namespace tephra::sharding
