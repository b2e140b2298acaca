// The arithmetic of a unit, as the executor sees it. model/nn implements it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace tephra::sharding {

// One micro-batch's inputs; model/nn derives from it. Immutable while a step runs.
struct MicroBatch {
  virtual ~MicroBatch() = default;
  int64_t loss_tokens = 0;                 // supervised tokens: the divisor of the loss, summed over the global batch
  int64_t tokens = 0;                      // all tokens processed, for throughput
  std::vector<uint64_t> sample_positions;  // places in the epoch order, for reports
};

// What flows from unit to unit. A unit takes what it uses and passes on the rest. The last unit returns one scalar: the
// sum of the loss over the micro-batch's supervised tokens.
using Activations = std::vector<at::Tensor>;

class UnitModule {
 public:
  virtual ~UnitModule() = default;
  // parameters: one tensor per TensorSpec of the unit, in its order and shape, views of the gathered flat buffer. They
  // may be freed and gathered again between forward and backward, so forward must not return a view of them (checked)
  // or keep one. inputs: the previous unit's outputs, detached; empty for the first unit. Those that a trainable unit
  // before this one had part in require a gradient. Tensors of any other type, and undefined ones, pass from unit to
  // unit untouched. Deterministic for equal inputs and thread count. Builds the tape when gradients are on. During backward each
  // parameter's grad() is its place in the flat gradient buffer: an operation may write the whole gradient there and return that
  // tensor, which saves a copy, if it is the parameter's only use in the unit.
  virtual Activations forward(const std::vector<at::Tensor>& parameters, const Activations& inputs,
                              const MicroBatch& batch) = 0;
};

}  // namespace tephra::sharding
