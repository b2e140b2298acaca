// Stochastic gradient descent over flat shards, with momentum or without. Free of LibTorch tensors; bits as adamw.h says.
#pragma once

#include <vector>

#include "sharding/exec/adamw.h"

namespace tephra::sharding {

// One step's constants, rounded to float32 once. In the order in which torch.optim.SGD computes it (dampening 0): the
// decay is added to the gradient, g + decay p; then v = momentum v + g; then p - step v, with Nesterov's momentum
// (Sutskever et al. 2013) p - step (g + momentum v).
struct SgdConstants {
  float gradient_scale;  // times the summed gradient: clipping, and the division by the global token count
  float weight_decay;
  float momentum;  // 0: none
  bool nesterov;
  float step_size;  // learning rate
};
struct SgdState {
  float* parameters;
  float* velocity;  // not touched, and may be null, without momentum
};
// Writes the state after the step to `next`, from `current`, which may be the same buffers.
void sgd_update(const std::vector<DecayRun>& runs, const SgdConstants& constants, const float* gradient,
                const SgdState& current, const SgdState& next);

}  // namespace tephra::sharding
