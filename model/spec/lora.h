// Low-rank adapters of the language model (LoRA, Hu et al. 2021): what they are called, and a model with them merged in. Which
// projections can have them: model/spec/units.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/tensor_source.h"

namespace tephra::model {

struct LoraConfig {
  int64_t rank = 0;  // at least 1
  double alpha = 0;
  std::vector<std::string> targets{};  // of kLoraTargets, in its order
  double scale() const { return alpha / static_cast<double>(rank); }
};

// From what a recipe says (a struct with the same three fields), which this folder does not see.
template <typename Recipe>
std::optional<LoraConfig> lora_config(const std::optional<Recipe>& recipe) {
  if (!recipe) return std::nullopt;
  return LoraConfig{recipe->rank, recipe->alpha, recipe->targets};
}

// The adapter's tensor `which`, 'A' [rank, in] or 'B' [out, rank], beside the matrix `weight` ("...q_proj.weight" [out, in]).
std::string lora_name(const std::string& weight, char which);

// `model` without its adapters, and with W + alpha / rank * B A, computed in float32, in the place of each W that has one. `model`
// outlives the result. kInvalidArgument when there is no adapter, or one has half of its tensors, other sizes than its weight, or another
// rank than `lora`.
Result<std::unique_ptr<TensorSource>> merged_lora(const TensorSource& model, const LoraConfig& lora);

}  // namespace tephra::model
