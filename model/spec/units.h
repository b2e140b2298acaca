// From a configuration to the chain of units that the executor runs: names, shapes, order, cost. model/nn has one
// module per unit.
//
// Tensor names are canonical (base/tensor_source.h): vision_tower.vision_model.*, multi_modal_projector.linear_{1,2}.*
// (a linear connector has linear_1 alone), language_model.model.*, language_model.lm_head.weight. CLIP training adds
// text_model.*, visual_projection.weight, text_projection.weight, logit_scale. So a checkpoint of a base training is a
// part of a LLaVA model as it is.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/spec/lora.h"
#include "model/spec/model_config.h"
#include "sharding/plan/unit.h"

namespace tephra::model {

// Places of tensors in a unit's list.
enum VisionEmbedTensor { kClassEmbedding, kPatchEmbedding, kVisionPosition, kPreNormWeight, kPreNormBias };
enum ClipBlockTensor {
  kNorm1Weight,
  kNorm1Bias,
  kClipQWeight,
  kClipQBias,
  kClipKWeight,
  kClipKBias,
  kClipVWeight,
  kClipVBias,
  kClipOutWeight,
  kClipOutBias,
  kNorm2Weight,
  kNorm2Bias,
  kFc1Weight,
  kFc1Bias,
  kFc2Weight,
  kFc2Bias
};
enum ConnectorTensor { kLinear1Weight, kLinear1Bias, kLinear2Weight, kLinear2Bias };
enum LlamaBlockTensor { kInputNorm, kQ, kK, kV, kO, kPostNorm, kGate, kUp, kDown };
// The projections of a decoder block that adapters may stand beside, by the names that recipes and PEFT have for them.
inline constexpr std::pair<std::string_view, LlamaBlockTensor> kLoraTargets[] = {
    {"q_proj", kQ},       {"k_proj", kK},   {"v_proj", kV},      {"o_proj", kO},
    {"gate_proj", kGate}, {"up_proj", kUp}, {"down_proj", kDown}};
enum LlamaHeadTensor { kFinalNorm, kLmHead };
enum ClipVisionHeadTensor { kPostNormWeight, kPostNormBias, kVisualProjection };
enum ClipTextEmbedTensor { kTokenEmbedding, kTextPosition };
enum ClipTextHeadTensor { kTextNormWeight, kTextNormBias, kTextProjection, kLogitScale };

// The most logits that training holds at a time (model/nn/fused.h).
inline constexpr int64_t kLogitsAtOnce = int64_t{1} << 23;

// "vision.embed", "vision.block.i" for the layers that vision_layer needs, "connector", "llm.embed", "llm.block.i",
// "llm.head". Groups: "vision", "connector", "llm"; a unit is trainable when its group is in `trainable`. layout() has
// been called. Costs are per token of the merged sequence: of the vision units and the connector per image token, of
// the head per token of text, as if each were supervised.
//
// A language model whose head is its embedding (tied_head) has no lm_head.weight: llm.embed hands its table along the chain to
// llm.head, which keeps a whole copy per rank for as long as a micro-batch runs, as gathering the head would for its end.
//
// With `lora` the units of group "llm" are frozen, and a unit "llm.lora" of group "lora" follows "llm.embed"; it is trainable
// when "llm" is in `trainable`. Its tensors: for each block, each target's lora_A.weight [rank, in] and lora_B.weight [out, rank],
// named after the weight that they stand beside. One unit for all blocks, since adapters are small: one more gather a step, and the
// blocks' gathers run ahead of the compute as before.
std::vector<sharding::UnitSpec> make_units(const ModelConfig& config, const std::set<std::string>& trainable,
                                           const std::optional<LoraConfig>& lora = {});

// Sets compute_dtype of every unit to that of its group; groups that are not named stay as they are.
void set_compute_dtypes(std::vector<sharding::UnitSpec>& units, const std::map<std::string, DType>& by_group);

// What contrastive training trains: the towers learn together, whatever is kept of them later.
inline const std::set<std::string> kClipGroups = {"vision", "text"};

// "vision.embed", all "vision.block.i", "vision.head", "text.embed", "text.block.i", "text.head". Groups: "vision",
// "text". Costs are per image-text pair.
std::vector<sharding::UnitSpec> make_clip_units(const ClipConfig& config, const std::set<std::string>& trainable);

// "llm.embed", "llm.block.i", "llm.head". Group: "llm". `lora` and a tied head as above.
std::vector<sharding::UnitSpec> make_lm_units(const LlamaConfig& config, const std::set<std::string>& trainable,
                                              const std::optional<LoraConfig>& lora = {});

}  // namespace tephra::model
