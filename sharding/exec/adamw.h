// The arithmetic of the optimizer over flat shards: AdamW and the squared sums of the gradient norm. Free of LibTorch
// tensors. Bits: every element's result depends on its own inputs only, and sums have a fixed order, so cutting a unit
// into more or fewer shards changes nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "sharding/plan/unit.h"

namespace tephra::sharding {

// Elements [begin, end) of a shard that all are, or all are not, subject to weight decay. Edges are multiples of
// kTensorAlignment; gaps and padding (always zero) belong to whichever run is near.
struct DecayRun {
  int64_t begin;
  int64_t end;
  bool decay;
};
// Covers shard `rank` of `unit` exactly. Tensors of two or more dimensions decay.
std::vector<DecayRun> decay_runs(const UnitSpec& unit, int rank, int world_size);

// One step's constants, rounded to float32 once. Loshchilov and Hutter 2019, algorithm 2, in the order in which
// torch.optim.AdamW computes it.
struct AdamWConstants {
  float gradient_scale;              // times the summed gradient: clipping, and the division by the global token count
  float decay_factor;                // 1 - learning rate * weight decay
  float first_weight;                // 1 - beta1
  float second_beta, second_weight;  // beta2, 1 - beta2
  float second_correction;           // sqrt(1 - beta2^t)
  float epsilon;
  float step_size;  // learning rate / (1 - beta1^t)
};
struct AdamWState {
  float* parameters;
  float* first_moment;
  float* second_moment;
};
// Writes the state after the step to `next`, from `current`, which may be the same buffers.
void adamw_update(const std::vector<DecayRun>& runs, const AdamWConstants& constants, const float* gradient,
                  const AdamWState& current, const AdamWState& next);

// sums[s] = sum of squares of elements [s * segment, (s + 1) * segment), in float64, in eight interleaved lanes.
void squared_sums(const float* values, int64_t segment, int64_t segments, double* sums);

}  // namespace tephra::sharding
