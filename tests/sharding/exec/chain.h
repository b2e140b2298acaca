// A tiny chain of units for the executor's tests, its data, and ranks as threads that train it.
//
//   0 front      frozen                 x -> tanh(x a + b), and an integer tensor that every unit passes on
//   1 tower      frozen                 h -> tanh(h a)
//   2 connector  trainable, 2 tensors   h -> h + silu(h a + b); without a picture h, so that its parameters get no
//   gradient 3 block      trainable              h -> h + tanh(h a); hands on a float table that needs no gradient 4
//   middle     frozen, passed through backward 5 head       trainable              the sum of the cross entropy over
//   the labels
//
// B = rows of a micro-batch, D = 40, V = 17.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "sharding/exec/executor.h"

namespace tephra::sharding::test {

struct ToyBatch : MicroBatch {
  at::Tensor x_BD;
  at::Tensor labels_B1;  // int64
  bool picture = true;
};

std::vector<UnitSpec> toy_units();
std::vector<std::unique_ptr<UnitModule>> toy_modules();
// `count` micro-batches of step `step`; every third has no picture.
std::vector<std::unique_ptr<ToyBatch>> toy_batches(int step, int count);
float initial_value(const std::string& tensor, int64_t index);
Executor::Reader initial_reader();

// Whole tensors, assembled from all ranks' snapshots: (tensor, kind) -> values.
using State = std::map<std::pair<std::string, StateKind>, std::vector<float>>;
Executor::Reader reader_of(const State& state);  // frozen tensors have their initial values
void add_to(State& state, const Snapshot& snapshot);

struct Training {
  int world_size = 1;
  int global_micro_batches = 4;
  int first_step = 1;
  int steps = 3;
  ShardLevel shard = ShardLevel::kParameters;
  bool reshard_after_forward = true;
  int recompute_every = 0;
  int prefetch = 1;
  int group_ranks = 0;
  Reduction reduction = Reduction::kTree;
  double weight_decay = 0.1;
  double clip_norm = 1.0;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double momentum = 0;
  Offload offload = Offload::kNone;
};
struct Trained {
  std::vector<StepStats> stats;  // per step; checked to be equal on all ranks
  double evaluation = 0;         // loss over the batches of step 1000 after the last step
  State state;
};
// Trains on `training.world_size` threads from `start`. Records gtest failures.
Trained train(const Training& training, const Executor::Reader& start, bool with_moments,
              const std::function<void(int step, std::vector<std::unique_ptr<ToyBatch>>&)>& edit = {});

// Equal bits, not equal values: -0 and +0 differ, NaN equals itself.
bool same_bits(const State& a, const State& b);
void expect_same(const Trained& a, const Trained& b);

inline constexpr ShardLevel kLevels[] = {ShardLevel::kNone, ShardLevel::kOptimizer, ShardLevel::kGradients,
                                         ShardLevel::kParameters};
// Calls `each` with every level, recomputation, depth of prefetching and size of groups that differ on this chain; the
// world size is left to it. group_ranks 2 wants a world of two or more.
void for_strategies(const std::function<void(Training)>& each);

Policy policy_of(const Training& training);
OptimizerOptions optimizer_of(const Training& training);
StepInput step_input(int step);
std::vector<const MicroBatch*> local_part(const std::vector<std::unique_ptr<ToyBatch>>& all, int rank, int world_size);
// Runs `body(rank)` on one thread per rank and joins them.
void on_ranks(int world_size, const std::function<void(int rank)>& body);

}  // namespace tephra::sharding::test
