// CLIP's towers (Radford et al. 2021) as functions of their parameters; numbers equal transformers' CLIPModel with
// eager attention. Shapes: I images, T = patches + 1 or text length, D width, E projection. `p`: the unit's tensors in
// the order of model/spec/units.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "model/spec/model_config.h"

namespace tephra::model {

using Parameters = std::span<const at::Tensor>;

// pixels_ICHW -> class token and patches with positions, after pre_layrnorm: [I, T, D].
at::Tensor clip_vision_embed(Parameters p, const at::Tensor& pixels_ICHW, const ClipVisionConfig& config);

struct ClipBlockOptions {
  int64_t num_heads = 1;
  double layer_norm_eps = 1e-5;
  bool quick_gelu = true;
  bool causal = false;
};
at::Tensor clip_block(Parameters p, const at::Tensor& h_ITD, const ClipBlockOptions& options);

// Class token -> post_layernorm -> projection -> unit length: [I, E].
at::Tensor clip_vision_head(Parameters p, const at::Tensor& h_ITD, double layer_norm_eps);
at::Tensor clip_text_embed(Parameters p, const at::Tensor& ids_BT);
// Pooled places -> final_layer_norm -> projection -> unit length: [B, E].
at::Tensor clip_text_head(Parameters p, const at::Tensor& h_BTD, const at::Tensor& pooled_B, double layer_norm_eps);
// Symmetric InfoNCE: the mean of both directions' cross entropies, summed over the B pairs. Both embeddings [B, E].
at::Tensor clip_loss(const at::Tensor& image_BE, const at::Tensor& text_BE, const at::Tensor& logit_scale);

}  // namespace tephra::model
