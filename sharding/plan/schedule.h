// One optimizer step as data: the list of operations that every rank runs. The executor runs it with tensors; the
// planner walks it with sizes. After ZeRO (Rajbhandari et al. 2020) and FSDP (Zhao et al. 2023).
#pragma once

#include <string>
#include <vector>

#include "sharding/plan/unit.h"

namespace tephra::sharding {

enum class OpKind {
  kGather,         // all-gather the unit's parameter shards into its full flat buffer
  kForward,        // run the unit on the micro-batch
  kFree,           // release the full flat buffer
  kRecompute,      // run forward again with the tape on, from the saved input
  kBackward,       // gradients of the unit's parameters (added to the micro-batch tree) and of its input
  kReduceScatter,  // sum the unit's gradient over ranks; each keeps its shard
  kStep,           // clip and update every trainable unit's shard; unit is -1
};

struct Op {
  OpKind kind;
  int unit = -1;
  int micro_batch = -1;  // local index; -1 where it does not apply
};

struct Policy {
  int world_size = 1;
  int micro_batches = 1;         // per rank and step
  bool shard_parameters = true;  // ZeRO-3; false keeps every unit gathered between steps (ZeRO-1)
  bool reshard_after_forward = true;
  bool recompute = false;  // keep only unit inputs in forward
};

using Schedule = std::vector<Op>;

// The step of `policy` over the chain `units` (after layout()). For each local micro-batch: gather, forward, free along
// the chain; then, over the units that need backward, in reverse: gather, recompute, backward, free. The last unit
// stays gathered, and its tape alive, at the turn. Units with needs_backward false appear in the forward part only.
// Gradients are reduced in the last micro-batch, each right after its backward. Without shard_parameters a unit is
// gathered before its first use in the step and never freed (a runner may keep frozen units from step to step: their
// gather is then nothing). policy.micro_batches is at least 1.
Schedule make_schedule(const std::vector<UnitSpec>& units, const Policy& policy);

// Ok when the schedule does the step of `policy` over `units`: every forward, recomputation, backward and reduction
// once and in order; each use of a unit while it is gathered; each gather directly before a use; each free directly
// after the last one before the unit is needed again; one step at the end with nothing left gathered. Otherwise
// kInternal naming the first operation at fault. Written from these rules, not from make_schedule, so that each checks
// the other.
Status check_schedule(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy);
std::string to_string(const Schedule& schedule, const std::vector<UnitSpec>& units);  // one line an op

struct MemoryEstimate {          // bytes per rank
  int64_t parameter_shards = 0;  // of all units
  int64_t gradient_shards = 0;   // reduced gradients of trainable units
  int64_t optimizer_shards = 0;  // two moments, and the second set of parameters and moments that a held snapshot costs
  int64_t gathered_peak =
      0;  // full flat buffers at once, the one being prefetched included; 0 on one rank (shards are used in place)
  int64_t gradient_peak =
      0;  // full-size gradients: partial sums of the micro-batch tree, and one unit's own from autograd
  int64_t activation_peak = 0;  // what backward keeps
  int64_t total() const {
    return parameter_shards + gradient_shards + optimizer_shards + gathered_peak + gradient_peak + activation_peak;
  }
};
struct StepEstimate {
  MemoryEstimate memory;
  double macs = 0;            // per rank and step
  double gathered_bytes = 0;  // received per rank and step
  double reduced_bytes = 0;
};
// Walks `schedule` as the executor does (one gather ahead, one reduction in flight), with sizes in place of tensors.
StepEstimate estimate(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                      int64_t tokens_per_micro_batch);

// The position of the gather that a runner may issue before the operation at `position` runs: the next kGather after
// it, unless that unit is still to be freed, or a step comes first. schedule.size() when there is none. Used by the
// executor and estimate().
size_t prefetch_position(const Schedule& schedule, size_t position);

// How the local micro-batches' gradients are summed: entry i is the number of additions of the two newest partial sums
// after leaf i. The tree over n leaves is tree(n/2) + tree(n/2) for even n and tree(n-1) + leaf for odd n, so that a
// rank's n leaves are a subtree of the tree over n * 2^k, whatever the world size 2^k.
std::vector<int> tree_merges(int leaves);

}  // namespace tephra::sharding
