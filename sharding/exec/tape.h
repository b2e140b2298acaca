// One unit's forward and backward over one micro-batch. The chain is cut between units: each gets detached inputs, so
// that its piece of the tape can be run backward, and its parameters freed, on its own. Threading: the compute thread
// (autograd runs CPU work on the thread that calls it).
#pragma once

#include <vector>

#include "sharding/exec/unit_buffer.h"
#include "sharding/exec/unit_module.h"
#include "sharding/plan/unit.h"

namespace tephra::sharding {

struct UnitTape {
  Activations inputs;   // detached; those that can carry a gradient are leaves that require one
  Activations outputs;  // with the tape; empty when it is to be computed again
};

// A unit's outputs as the next unit's inputs: detached, requiring a gradient where the output did.
Activations detached(const Activations& outputs);

// Runs the module.
Activations run_forward(UnitModule& module, const UnitSpec& unit, const UnitBuffer& buffer, const Activations& inputs,
                        const MicroBatch& batch, bool with_tape);

// One gradient per tensor of the unit (none for a frozen unit) and one per input; undefined where there is none.
struct UnitGradients {
  std::vector<at::Tensor> parameters;
  std::vector<at::Tensor> inputs;
};
// output_gradients: one per output, undefined where there is none. Frees the tape.
UnitGradients run_backward(const UnitSpec& unit, const UnitBuffer& buffer, UnitTape tape,
                           const std::vector<at::Tensor>& output_gradients);

// The gradients that start the backward pass: one for the loss, none for anything after it.
std::vector<at::Tensor> loss_gradients(const Activations& outputs);

}  // namespace tephra::sharding
