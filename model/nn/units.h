// One module per unit of model/spec/units.h, in the same order: the arithmetic that the executor drives.
//
// Activations between units. LLaVA: vision units pass what model/nn/tower.h says, the connector {image tokens [I, P, D]},
// language units {h [B, T, D]}; a micro-batch without images passes {} up to llm.embed, which then has no inputs, so
// that connector gradients stay undefined. The batch is a LlavaBatch. CLIP: vision.head passes {image embedding [B, E],
// unit length}, text units {h, image embedding}; the batch is a ClipBatch and the loss the symmetric InfoNCE within the
// micro-batch, summed over its pairs. With `lora`, llm.lora puts a copy of each of its tensors behind h: a block takes its
// own from the front and passes on the others, so that their gradients come back to llm.lora along the chain. With a tied head,
// llm.embed passes {h, a copy of its table}, which comes to llm.head in the same way. The last unit returns {loss_sum}, a float32 scalar; exactly 0 (and no tape) when
// nothing is supervised.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/spec/lora.h"
#include "model/spec/model_config.h"
#include "sharding/exec/unit_module.h"

namespace tephra::model {

using Modules = std::vector<std::unique_ptr<sharding::UnitModule>>;

Modules make_modules(const ModelConfig& config, const std::optional<LoraConfig>& lora = {});
Modules make_clip_modules(const ClipConfig& config);
Modules make_lm_modules(const LlamaConfig& config, const std::optional<LoraConfig>& lora = {});

}  // namespace tephra::model
