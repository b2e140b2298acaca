#include "sharding/plan/schedule.h"

#include <algorithm>
#include <string_view>

namespace tephra::sharding {
namespace {

// Of offloaded state: no unit is computed with or gathered.
bool is_offload(OpKind kind) { return kind == OpKind::kFetch || kind == OpKind::kUpdate || kind == OpKind::kStore; }

constexpr std::string_view kLevelNames[] = {"none", "optimizer", "gradients", "parameters"};

std::string_view kind_name(OpKind kind) {
  switch (kind) {
    case OpKind::kGather: return "gather";
    case OpKind::kForward: return "forward";
    case OpKind::kFree: return "free";
    case OpKind::kRecompute: return "recompute";
    case OpKind::kBackward: return "backward";
    case OpKind::kReduceScatter: return "reduce_scatter";
    case OpKind::kAllReduce: return "all_reduce";
    case OpKind::kStep: return "step";
    case OpKind::kFetch: return "fetch";
    case OpKind::kUpdate: return "update";
    case OpKind::kStore: return "store";
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
  Schedule work, reductions;
  const int last = static_cast<int>(units.size()) - 1;
  for (int m = 0; m < policy.micro_batches; ++m) {
    for (int u = 0; u <= last; ++u) work.push_back({OpKind::kForward, u, m});
    for (int u = last; u >= 0 && units[u].needs_backward; --u) {
      if (recomputes(units, policy, u)) work.push_back({OpKind::kRecompute, u, m});
      work.push_back({OpKind::kBackward, u, m});
      if (!units[u].trainable || m + 1 != policy.micro_batches) continue;
      const OpKind kind = policy.shard == ShardLevel::kNone ? OpKind::kAllReduce : OpKind::kReduceScatter;
      (policy.shard == ShardLevel::kOptimizer ? reductions : work).push_back({kind, u, -1});
    }
  }
  work.insert(work.end(), reductions.begin(), reductions.end());
  work.push_back({OpKind::kStep, -1, -1});
  for (int u = 0; u <= last && offloads(policy); ++u) {
    if (!units[u].trainable) continue;
    for (const OpKind kind : {OpKind::kFetch, OpKind::kUpdate, OpKind::kStore}) work.push_back({kind, u, -1});
  }
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
        gathered_(units.size(), policy.shard == ShardLevel::kNone) {}

  std::string check(size_t position) {
    const Op& op = schedule_[position];
    if (op.kind == OpKind::kGather) return check_gather(position);
    if (op.kind == OpKind::kFetch && !stepped_) return check_fetch(position);
    if (op.kind == OpKind::kFree) return check_free(position);
    if (next_work_ >= work_.size()) return "nothing is left to do here";
    if (!same(op, work_[next_work_])) return "expected " + op_text(work_[next_work_], units_);
    ++next_work_;
    stepped_ = stepped_ || op.kind == OpKind::kStep;
    if (op.kind == OpKind::kStep) return check_end();
    if (is_offload(op.kind)) return "";
    if (!gathered_[op.unit]) return "the unit is not gathered";
    return check_others(position);
  }

  bool finished() const { return next_work_ == work_.size(); }

 private:
  bool known(int unit) const { return unit >= 0 && unit < static_cast<int>(units_.size()); }

  std::string check_fetch(size_t position) const {
    const Op& op = schedule_[position];
    if (!known(op.unit) || op.micro_batch != -1) return "the operation names no unit of the chain";
    if (!offloads_parameters(policy_)) return "no parameters are offloaded";
    const bool used = position + 1 < schedule_.size() && same(schedule_[position + 1], {OpKind::kGather, op.unit, -1});
    return used ? "" : "the unit is not gathered next";
  }

  std::string check_gather(size_t position) {
    const Op& op = schedule_[position];
    if (!known(op.unit) || op.micro_batch != -1) return "the operation names no unit of the chain";
    if (gathered_[op.unit]) return "the unit is gathered already";
    if (offloads_parameters(policy_) &&
        (position == 0 || !same(schedule_[position - 1], {OpKind::kFetch, op.unit, -1})))
      return "the unit's parameters were not fetched";
    gathered_[op.unit] = true;
    const bool used = position + 1 < schedule_.size() && schedule_[position + 1].unit == op.unit &&
                      schedule_[position + 1].kind != OpKind::kFree;
    return used ? "" : "the unit is not used next";
  }

  std::string check_free(size_t position) {
    const Op& op = schedule_[position];
    if (!known(op.unit) || op.micro_batch != -1) return "the operation names no unit of the chain";
    if (policy_.shard != ShardLevel::kParameters) return "units stay gathered when parameters are not sharded";
    if (!gathered_[op.unit]) return "the unit is not gathered";
    gathered_[op.unit] = false;
    return schedule_[position - 1].unit == op.unit ? "" : "the unit was not used just before";
  }

  // While one unit runs, which others may be in memory.
  std::string check_others(size_t position) const {
    if (policy_.shard != ShardLevel::kParameters) return "";
    for (int u = 0; u < static_cast<int>(units_.size()); ++u) {
      if (u == schedule_[position].unit || !gathered_[u]) continue;
      if (policy_.reshard_after_forward || !units_[u].needs_backward)
        return units_[u].name + " should have been freed before";
    }
    return "";
  }

  std::string check_end() const {
    if (policy_.shard != ShardLevel::kParameters) return "";
    const auto left = std::find(gathered_.begin(), gathered_.end(), true);
    return left == gathered_.end() ? "" : units_[left - gathered_.begin()].name + " was not freed";
  }

  const Schedule& schedule_;
  const std::vector<UnitSpec>& units_;
  const Policy& policy_;
  const Schedule work_;
  size_t next_work_ = 0;
  bool stepped_ = false;
  std::vector<bool> gathered_;
};

}  // namespace

ShardLevel shard_level(std::string_view name) {
  const auto found = std::find(std::begin(kLevelNames), std::end(kLevelNames), name);
  TEPHRA_CHECK(found != std::end(kLevelNames), "no shard level is called " + std::string(name));
  return static_cast<ShardLevel>(found - std::begin(kLevelNames));
}

Offload offload_of(std::string_view name) {
  if (name == "optimizer") return Offload::kOptimizer;
  if (name == "parameters") return Offload::kParameters;
  TEPHRA_CHECK(name == "none", "nothing is offloaded that is called " + std::string(name));
  return Offload::kNone;
}

std::string_view name_of(ShardLevel level) { return kLevelNames[static_cast<int>(level)]; }

int ranks_per_copy(const Policy& policy) {
  if (replicated(policy)) return 1;
  return policy.group_ranks > 0 ? policy.group_ranks : policy.world_size;
}

Holding holding(const Policy& policy, int rank) {
  const int shards = ranks_per_copy(policy), copies = policy.world_size / shards;
  const int shard = rank % shards, copy = rank / shards;
  return {shard, shards, shard * copies + copy, policy.world_size};
}

int rank_of_part(const Policy& policy, int part) {
  const int shards = ranks_per_copy(policy), copies = policy.world_size / shards;
  return part % copies * shards + part / copies;
}

bool recomputes(const std::vector<UnitSpec>& units, const Policy& policy, int unit) {
  if (policy.recompute_every == 0 || unit + 1 == static_cast<int>(units.size()) || !units[unit].needs_backward) {
    return false;
  }
  const auto first = std::find_if(units.begin(), units.end(), [](const UnitSpec& u) { return u.needs_backward; });
  return (unit - (first - units.begin()) + 1) % policy.recompute_every == 0;
}

Schedule make_schedule(const std::vector<UnitSpec>& units, const Policy& policy) {
  TEPHRA_CHECK(policy.micro_batches >= 1, "a step has at least one micro-batch");
  const bool shards_parameters = policy.shard == ShardLevel::kParameters;
  const bool replicates = policy.shard == ShardLevel::kNone;
  const bool reduces_at_end = policy.shard == ShardLevel::kOptimizer;
  Schedule ops, reductions;
  const auto gather = [&](int u) {
    if (offloads_parameters(policy)) ops.push_back({OpKind::kFetch, u, -1});
    ops.push_back({OpKind::kGather, u, -1});
  };
  const int last = static_cast<int>(units.size()) - 1;
  for (int m = 0; m < policy.micro_batches; ++m) {
    for (int u = 0; u <= last; ++u) {
      if (shards_parameters || (m == 0 && !replicates)) gather(u);
      ops.push_back({OpKind::kForward, u, m});
      const bool stays = units[u].needs_backward && (u == last || !policy.reshard_after_forward);
      if (shards_parameters && !stays) ops.push_back({OpKind::kFree, u, -1});
    }
    for (int u = last; u >= 0 && units[u].needs_backward; --u) {
      if (shards_parameters && policy.reshard_after_forward && u != last) gather(u);
      if (recomputes(units, policy, u)) ops.push_back({OpKind::kRecompute, u, m});
      ops.push_back({OpKind::kBackward, u, m});
      if (units[u].trainable && m + 1 == policy.micro_batches) {
        (reduces_at_end ? reductions : ops)
            .push_back({replicates ? OpKind::kAllReduce : OpKind::kReduceScatter, u, -1});
      }
      if (shards_parameters) ops.push_back({OpKind::kFree, u, -1});
    }
  }
  ops.insert(ops.end(), reductions.begin(), reductions.end());
  ops.push_back({OpKind::kStep, -1, -1});
  if (!offloads(policy)) return ops;
  for (int u = 0; u <= last; ++u) {
    if (!units[u].trainable) continue;
    ops.push_back({OpKind::kFetch, u, -1});
    ops.push_back({OpKind::kUpdate, u, -1});
    ops.push_back({OpKind::kStore, u, -1});
  }
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
  if (!checker.finished())
    return Status(Code::kInternal, policy.offload == Offload::kNone ? "the schedule ends before its step"
                                                                    : "the schedule ends before its last store");
  return ok_status();
}

std::string to_string(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy) {
  std::string text;
  size_t issued = 0;
  for (size_t position = 0; position < schedule.size(); ++position) {
    text += op_text(schedule[position], units);
    const size_t end = prefetch_end(schedule, position, policy.prefetch);
    std::string ahead;
    for (; issued < end; ++issued) {
      if (issued <= position || schedule[issued].kind != OpKind::kGather) continue;
      ahead += (ahead.empty() ? "" : ", ") + units[schedule[issued].unit].name;
    }
    text += (ahead.empty() ? "" : "; gathering " + ahead) + "\n";
  }
  return text;
}

std::string to_string(const Policy& policy) {
  std::string text = std::to_string(policy.world_size) + (policy.world_size == 1 ? " rank" : " ranks") + " x " +
                     std::to_string(policy.micro_batches) +
                     (policy.micro_batches == 1 ? " micro-batch" : " micro-batches") + ", shard " +
                     std::string(name_of(policy.shard));
  if (ranks_per_copy(policy) > 1 && ranks_per_copy(policy) < policy.world_size) {
    text += " in groups of " + std::to_string(policy.group_ranks) + " ranks";
  }
  if (policy.shard == ShardLevel::kParameters && !policy.reshard_after_forward) text += ", gathered until backward";
  if (policy.recompute_every == 1) text += ", all units recomputed";
  if (policy.recompute_every > 1) text += ", one in " + std::to_string(policy.recompute_every) + " units recomputed";
  if (policy.offload == Offload::kOptimizer) text += ", moments offloaded";
  if (offloads_parameters(policy)) text += ", parameters and moments offloaded";
  text += ", prefetch " + std::to_string(policy.prefetch);
  return text + (policy.reduction == Reduction::kFast ? ", sums in the library's order" : "");
}

size_t prefetch_end(const Schedule& schedule, size_t position, int depth) {
  size_t end = position + 1;
  const OpKind kind = schedule[position].kind;
  if (kind == OpKind::kGather || kind == OpKind::kFree || kind == OpKind::kStep || is_offload(kind)) {
    return end;
  }
  const auto in_use = [&](int unit) {
    return std::any_of(schedule.begin() + position, schedule.begin() + end,
                       [unit](const Op& op) { return op.unit == unit; });
  };
  for (; end < schedule.size() && schedule[end].kind != OpKind::kStep; ++end) {
    const OpKind next = schedule[end].kind;
    if (next != OpKind::kGather && next != OpKind::kFetch) continue;
    if (depth-- == 0 || in_use(schedule[end].unit)) break;
    if (next == OpKind::kFetch) ++end;  // its gather goes with it
  }
  return end;
}

size_t gathers_end(const Schedule& schedule) {
  size_t end = schedule.size();
  while (end > 0 && schedule[end - 1].kind != OpKind::kGather) --end;
  return end;
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
