// From a configuration to the chain of units that the executor runs: names, shapes, order, cost. model/nn has one
// module per unit.
//
// Tensor names are canonical (base/tensor_source.h): vision_tower.vision_model.*, multi_modal_projector.linear_{1,2}.*
// (a linear connector has linear_1 alone), language_model.model.*, language_model.lm_head.weight. CLIP training adds
// text_model.*, visual_projection.weight, text_projection.weight, logit_scale. So a checkpoint of a base training is a
// part of a LLaVA model as it is.
#pragma once

#include <set>
#include <string>
#include <vector>

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
enum LlamaHeadTensor { kFinalNorm, kLmHead };
enum ClipVisionHeadTensor { kPostNormWeight, kPostNormBias, kVisualProjection };
enum ClipTextEmbedTensor { kTokenEmbedding, kTextPosition };
enum ClipTextHeadTensor { kTextNormWeight, kTextNormBias, kTextProjection, kLogitScale };

// "vision.embed", "vision.block.i" for the layers that vision_layer needs, "connector", "llm.embed", "llm.block.i",
// "llm.head". Groups: "vision", "connector", "llm"; a unit is trainable when its group is in `trainable`. layout() has
// been called. Costs are per token of the merged sequence, at a context of max_position_embeddings; vision units count
// as if every token were an image patch, an upper bound.
std::vector<sharding::UnitSpec> make_units(const ModelConfig& config, const std::set<std::string>& trainable);

// What contrastive training trains: the towers learn together, whatever is kept of them later.
inline const std::set<std::string> kClipGroups = {"vision", "text"};

// "vision.embed", all "vision.block.i", "vision.head", "text.embed", "text.block.i", "text.head". Groups: "vision",
// "text". Costs are per image-text pair.
std::vector<sharding::UnitSpec> make_clip_units(const ClipConfig& config, const std::set<std::string>& trainable);

// "llm.embed", "llm.block.i", "llm.head". Group: "llm".
std::vector<sharding::UnitSpec> make_lm_units(const LlamaConfig& config, const std::set<std::string>& trainable);

}  // namespace tephra::model
