#include "sharding/exec/tape.h"

#include <torch/csrc/autograd/autograd.h>

#include "base/check.h"
#include "sharding/exec/aten.h"

namespace tephra::sharding {

Activations detached(const Activations& outputs) {
  Activations inputs;
  inputs.reserve(outputs.size());
  for (const at::Tensor& output : outputs) {
    if (!output.defined()) {
      inputs.emplace_back();
      continue;
    }
    at::Tensor input = output.detach();
    if (output.requires_grad()) input.set_requires_grad(true);
    inputs.push_back(std::move(input));
  }
  return inputs;
}

Activations run_forward(UnitModule& module, const UnitSpec& unit, const UnitBuffer& buffer, const Activations& inputs,
                        const MicroBatch& batch, bool with_tape) {
  at::AutoGradMode tape(with_tape);
  Activations outputs = module.forward(buffer.parameters(), inputs, batch);
  for (const at::Tensor& output : outputs) {
    TEPHRA_CHECK(!buffer.owns(output),
                 "unit " + unit.name + " returned a view of its parameters, which are about to be freed");
  }
  return outputs;
}

UnitGradients run_backward(const UnitSpec& unit, const UnitBuffer& buffer, UnitTape tape,
                           const std::vector<at::Tensor>& output_gradients) {
  UnitGradients result;
  if (unit.trainable) result.parameters.resize(buffer.parameters().size());
  result.inputs.resize(tape.inputs.size());

  torch::autograd::variable_list roots, root_gradients, leaves;
  for (size_t i = 0; i < tape.outputs.size(); ++i) {
    if (!tape.outputs[i].defined() || !tape.outputs[i].requires_grad() || !output_gradients[i].defined()) continue;
    roots.push_back(tape.outputs[i]);
    root_gradients.push_back(output_gradients[i]);
  }
  std::vector<at::Tensor*> slots;
  for (size_t p = 0; p < result.parameters.size(); ++p) {
    leaves.push_back(buffer.parameters()[p]);
    slots.push_back(&result.parameters[p]);
  }
  for (size_t i = 0; i < tape.inputs.size(); ++i) {
    if (!tape.inputs[i].defined() || !tape.inputs[i].requires_grad()) continue;
    leaves.push_back(tape.inputs[i]);
    slots.push_back(&result.inputs[i]);
  }
  // Nothing trainable took part in this micro-batch: every gradient is zero.
  if (roots.empty() || leaves.empty()) return result;

  torch::autograd::variable_list gradients = torch::autograd::grad(
      roots, leaves, root_gradients, /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t i = 0; i < slots.size(); ++i) *slots[i] = std::move(gradients[i]);
  return result;
}

std::vector<at::Tensor> loss_gradients(const Activations& outputs) {
  std::vector<at::Tensor> gradients(outputs.size());
  gradients[0] = at::ones_like(outputs[0]);
  return gradients;
}

}  // namespace tephra::sharding
