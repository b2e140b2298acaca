// A chain of units run by hand, as the executor would on one rank: parameters as leaves of the tape.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/tensor_source.h"
#include "model/nn/units.h"
#include "sharding/exec/aten.h"
#include "sharding/plan/unit.h"

namespace tephra::model {

struct Chain {
  std::vector<sharding::UnitSpec> units;
  Modules modules;
  std::vector<std::vector<at::Tensor>> parameters;

  Chain(std::vector<sharding::UnitSpec> u, Modules m, const TensorSource& source)
      : units(std::move(u)), modules(std::move(m)) {
    TEPHRA_CHECK(units.size() == modules.size(), "one module per unit");
    for (const auto& unit : units) {
      parameters.emplace_back();
      for (const auto& spec : unit.tensors) {
        at::Tensor t = at::empty(spec.shape, at::kFloat);
        Status status = source.read_float32(spec.name, 0, t.numel(), t.mutable_data_ptr<float>());
        TEPHRA_CHECK(status.ok(), status.to_string());
        parameters.back().push_back(t.requires_grad_(unit.trainable));
      }
    }
  }

  at::Tensor loss(const sharding::MicroBatch& batch) {
    sharding::Activations flow;
    for (size_t i = 0; i < units.size(); ++i) flow = modules[i]->forward(parameters[i], flow, batch);
    TEPHRA_CHECK(flow.size() == 1, "the last unit returns the loss");
    return flow[0];
  }

  at::Tensor& at(const std::string& name) {
    for (size_t u = 0; u < units.size(); ++u)
      for (size_t t = 0; t < units[u].tensors.size(); ++t)
        if (units[u].tensors[t].name == name) return parameters[u][t];
    TEPHRA_CHECK(false, "no tensor " + name);
  }
};

}  // namespace tephra::model
