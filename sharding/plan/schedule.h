// One optimizer step as data: the list of operations that every rank runs. The executor runs it with tensors; the
// planner walks it with sizes. After ZeRO (Rajbhandari et al. 2020) and FSDP (Zhao et al. 2023).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sharding/plan/unit.h"

namespace tephra::sharding {

enum class OpKind {
  kGather,         // all-gather the unit's parameter shards into its full flat buffer
  kForward,        // run the unit on the micro-batch
  kFree,           // release the full flat buffer
  kRecompute,      // run forward again with the tape on, from the saved input
  kBackward,       // gradients of the unit's parameters (added to the micro-batch tree) and of its input
  kReduceScatter,  // sum the unit's gradient over ranks; each keeps its shard (hybrid: over its group, then over groups)
  kAllReduce,      // sum the unit's gradient over ranks; each keeps the whole sum
  kStep,           // clip and update every trainable unit's shard; unit is -1. With offload: clip, updates follow
  // With offload. Of parameters: before each gather a fetch, and after kStep, as with moments, all three.
  kFetch,  // copy what is offloaded of the unit from host memory to the device: its shard of the parameters as they are
           // gathered; after kStep what the optimizer updates, into a working buffer
  kUpdate,  // update the unit's shard; what is offloaded of it, in the working buffer
  kStore,   // copy that back to host memory; the buffer may then be another unit's
};

struct Op {
  OpKind kind;
  int unit = -1;
  int micro_batch = -1;  // local index; -1 where it does not apply
};

// What is divided over the ranks; each level divides what the one before it does, and more. Bytes that a rank holds
// beside activations and snapshots, with P and T those of all and of the trainable parameters, W ranks, and m
// micro-batches a rank and step:
//
//   kNone        parameters P, moments 2T, gradients max(T, sums)
//   kOptimizer   parameters P + P/W (the shard, and the whole that it is gathered to), moments 2T/W,
//                gradients T/W + max(T, sums)
//   kGradients   as kOptimizer, but gradients T/W + max(two units, sums)
//   kParameters  as kGradients, but parameters P/W + the units in use and gathered ahead
//
// Here "two units" are the one in backward and the one being reduced, and "sums" are the whole partial sums of the
// micro-batch tree (tree_merges): none for m = 1, about log2(m) T above. No level divides them. A gradient could be
// reduced in every micro-batch only by adding ranks before micro-batches, and the tree that gives equal bits at every
// world size adds a rank's own micro-batches first. So kGradients needs less memory than kOptimizer for m = 1 alone;
// above, what it saves is time, as its reductions run beside the last backward pass and those of kOptimizer after it.
// kNone sums each gradient over ranks in the same tree (a reduce-scatter, then an all-gather), also beside the last
// backward pass. On one rank every level holds what kNone does.
enum class ShardLevel {
  kNone,        // replicated, as in DDP
  kOptimizer,   // ZeRO-1
  kGradients,   // ZeRO-2
  kParameters,  // ZeRO-3
};
// As recipes write it: none, optimizer, gradients, parameters. `name` is one of these.
ShardLevel shard_level(std::string_view name);
std::string_view name_of(ShardLevel level);

enum class Reduction {
  kTree,  // in the fixed tree: equal bits at every number of ranks
  kFast,  // as the transport's library sums: other bits at another number of ranks, or on another transport
};

enum class Offload {
  kNone,
  // Moments are in host memory, and in at most kOffloadBuffers working buffers of the device, each of the largest shard.
  // The next unit's are fetched while one is updated, and the one before it is written back.
  kOptimizer,
  // Beside the moments the shards of all parameters, those of frozen units too; the working buffers then hold both. A
  // unit's shard is fetched before each gather; where one rank holds the whole unit, that fetch is the gather. Only with
  // ShardLevel::kParameters: at the levels below it units stay gathered, and the shard is the least of it.
  kParameters,
};
inline constexpr int kOffloadBuffers = 3;
// As recipes write it: none, optimizer, parameters. `name` is one of these.
Offload offload_of(std::string_view name);

struct Policy {
  int world_size = 1;
  int micro_batches = 1;  // per rank and step
  ShardLevel shard = ShardLevel::kParameters;
  bool reshard_after_forward = true;  // kParameters only; false keeps what backward needs gathered until then
  int recompute_every = 0;            // every how many units to keep only the input in forward; 0: none
  int prefetch = 1;                   // gathers that run ahead of the compute
  // Hybrid: so many neighbouring ranks (of one node, say) divide what `shard` divides, and each such group holds a copy;
  // then W in what is said above of memory is this. Gathers stay inside the group; reduced gradients are also summed over
  // the groups. A power of two from 2 that divides world_size; 0: all ranks are one group.
  int group_ranks = 0;
  Reduction reduction = Reduction::kTree;
  int moments = 2;         // values that the optimizer keeps beside each trainable parameter
  int held_snapshots = 1;  // that may be held at once; each costs a set of parameters and moments
  Offload offload = Offload::kNone;
};

// Whether every rank holds whole shards, so that they are used in place and nothing is ever gathered.
inline bool replicated(const Policy& policy) { return policy.world_size == 1 || policy.shard == ShardLevel::kNone; }

inline bool offloads_parameters(const Policy& policy) { return policy.offload == Offload::kParameters; }

// Whether a step ends in fetches, updates and stores: an optimizer without moments has none to offload.
inline bool offloads(const Policy& policy) {
  return offloads_parameters(policy) || (policy.offload == Offload::kOptimizer && policy.moments > 0);
}

// Whether shards are computed with where they are, so that no unit has a buffer of its own.
inline bool used_in_place(const Policy& policy) { return replicated(policy) && !offloads_parameters(policy); }

// How many ranks one copy of the state is divided over: 1 when replicated().
int ranks_per_copy(const Policy& policy);

// What of a unit's flat buffer rank `rank` has: it holds shard `shard` of `shards`. Of what several copies hold, each
// rank answers for a part of its own, in norms and in checkpoints: `part` of `parts`, which lies in the shard.
struct Holding {
  int shard = 0, shards = 1;
  int part = 0, parts = 1;
};
Holding holding(const Policy& policy, int rank);
int rank_of_part(const Policy& policy, int part);  // whose holding() has it

// Whether `unit`'s forward is run again in backward: of the units that backward passes through, every
// policy.recompute_every-th, counted from the first. Never the last unit: its backward comes right after its forward,
// so its tape is kept anyway.
bool recomputes(const std::vector<UnitSpec>& units, const Policy& policy, int unit);

using Schedule = std::vector<Op>;

// The step of `policy` over the chain `units` (after layout()). For each local micro-batch: gather, forward, free along
// the chain; then, over the units that need backward, in reverse: gather, recompute, backward, free. The last unit
// stays gathered, and its tape alive, at the turn. Units with needs_backward false appear in the forward part only.
// Gradients are reduced in the last micro-batch: each right after its backward, with kOptimizer all of them at the end.
// Below kParameters nothing is freed: with kNone nothing is gathered either, between the two each unit is gathered
// before its first use in the step (a runner may keep frozen units from step to step: their gather is then nothing).
// policy.micro_batches is at least 1.
Schedule make_schedule(const std::vector<UnitSpec>& units, const Policy& policy);

// Ok when the schedule does the step of `policy` over `units`: every forward, recomputation, backward and reduction
// once and in order; each use of a unit while it is gathered; each gather directly before a use; with offloaded
// parameters a fetch directly before each gather; each free directly after the last use before the unit is needed again;
// one step at the end with nothing left gathered; with offload, what is offloaded of every trainable unit then fetched,
// updated and stored exactly once, in this order. Otherwise kInternal
// naming the first operation at fault. Written from these rules, not from make_schedule, so that each checks the other.
Status check_schedule(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy);
// One line an operation, which also says what a runner gathers ahead at that moment.
std::string to_string(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy);
std::string to_string(const Policy& policy);  // "2 ranks x 4 micro-batches, shard parameters, prefetch 1"

// What a micro-batch holds.
struct MicroBatchSize {
  int64_t tokens = 0;        // of all its samples
  int64_t image_tokens = 0;  // of them, those of pictures
  int64_t length = 0;        // tokens of one sample: what attention looks over
  int64_t count(TokenKind kind) const {
    return kind == TokenKind::kAll ? tokens : kind == TokenKind::kImage ? image_tokens : tokens - image_tokens;
  }
};
// Multiply-adds of the unit's forward over the micro-batch. Backward costs as much once for the unit's own gradients
// and once for those of its input.
double forward_macs(const UnitSpec& unit, const MicroBatchSize& batch);
// How many times that its backward costs: 0, 1 or 2.
int backward_factor(const std::vector<UnitSpec>& units, int unit);

struct MemoryEstimate {          // bytes per rank
  int64_t parameter_shards = 0;  // of all units
  int64_t gradient_shards = 0;   // reduced gradients of trainable units; 0 where they stay whole
  int64_t optimizer_shards = 0;  // moments, and the sets of parameters and moments that held snapshots cost
  // Full flat buffers at once, those gathered ahead included, and fetched shards until their gather is done; 0 when
  // used_in_place().
  int64_t gathered_peak = 0;
  // Full-size gradients: one unit's of the micro-batch in backward, partial sums of the micro-batch tree, sums being reduced or
  // staying whole. A module that does not write its gradients in place (unit_module.h) holds its own once more beside them.
  int64_t gradient_peak = 0;
  int64_t activation_peak = 0;  // what backward keeps, and what the unit at work holds beside it
  // Of the host, not the device, and so not in total(): what is offloaded, and the second set of it that a held snapshot
  // costs. optimizer_shards then has the working buffers in place of that.
  int64_t host = 0;
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
// Walks `schedule` as the executor does (policy.prefetch gathers ahead, one reduction in flight), with sizes in place
// of tensors.
StepEstimate estimate(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                      const MicroBatchSize& batch);
// The same for so many tokens of text.
inline StepEstimate estimate(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                             int64_t tokens) {
  return estimate(schedule, units, policy, MicroBatchSize{.tokens = tokens});
}

// How far a runner may have issued gathers when the operation at `position` runs: those before the returned position.
// Ahead of a use of a unit that is `depth` gathers, each with its fetch, fewer where the next one's unit is still to be
// freed, or a step comes first; at any other operation there are none. Used by the executor, estimate() and to_string().
size_t prefetch_end(const Schedule& schedule, size_t position, int depth);

// Position after the schedule's last gather: from there on there is nothing to look ahead for. 0 where it has none.
size_t gathers_end(const Schedule& schedule);

// How the local micro-batches' gradients are summed: entry i is the number of additions of the two newest partial sums
// after leaf i. The tree over n leaves is tree(n/2) + tree(n/2) for even n and tree(n-1) + leaf for odd n, so that a
// rank's n leaves are a subtree of the tree over n * 2^k, whatever the world size 2^k.
std::vector<int> tree_merges(int leaves);

}  // namespace tephra::sharding
