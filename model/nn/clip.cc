#include "model/nn/clip.h"

#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

at::Tensor heads(const at::Tensor& x_ITD, int64_t num_heads) {  // [I, N, T, H]
  return x_ITD.view({x_ITD.size(0), x_ITD.size(1), num_heads, -1}).transpose(1, 2);
}

at::Tensor unit_length(const at::Tensor& x_BE) { return x_BE / x_BE.norm(2, {-1}, /*keepdim=*/true); }

}  // namespace

at::Tensor clip_vision_embed(Parameters p, const at::Tensor& pixels_ICHW, const ClipVisionConfig& config) {
  const int64_t images = pixels_ICHW.size(0), width = config.hidden_size, patch = config.patch_size;
  // Both edges that a whole number of patches does not cover are left out, as a convolution without padding does.
  at::Tensor patches = at::conv2d(pixels_ICHW, p[kPatchEmbedding], {}, {patch, patch}).flatten(2).transpose(1, 2);
  at::Tensor classes = p[kClassEmbedding].view({1, 1, width}).expand({images, 1, width});
  at::Tensor h = at::cat({classes, patches}, 1) + p[kVisionPosition];
  return norm(h, p[kPreNormWeight], p[kPreNormBias], config.layer_norm_eps);
}

at::Tensor clip_block(Parameters p, const at::Tensor& h_ITD, const ClipBlockOptions& o) {
  at::Tensor x = norm(h_ITD, p[kNorm1Weight], p[kNorm1Bias], o.layer_norm_eps);
  at::Tensor q = heads(at::linear(x, p[kClipQWeight], p[kClipQBias]), o.num_heads);
  at::Tensor k = heads(at::linear(x, p[kClipKWeight], p[kClipKBias]), o.num_heads);
  at::Tensor v = heads(at::linear(x, p[kClipVWeight], p[kClipVBias]), o.num_heads);
  at::Tensor a = at::scaled_dot_product_attention(q, k, v, {}, 0.0, o.causal).transpose(1, 2).reshape(x.sizes());
  at::Tensor h = h_ITD + at::linear(a, p[kClipOutWeight], p[kClipOutBias]);
  x = norm(h, p[kNorm2Weight], p[kNorm2Bias], o.layer_norm_eps);
  x = at::linear(x, p[kFc1Weight], p[kFc1Bias]);
  x = o.quick_gelu ? x * at::sigmoid(1.702 * x) : at::gelu(x);
  return h + at::linear(x, p[kFc2Weight], p[kFc2Bias]);
}

at::Tensor clip_vision_head(Parameters p, const at::Tensor& h_ITD, double layer_norm_eps) {
  at::Tensor pooled = norm(h_ITD.select(1, 0), p[kPostNormWeight], p[kPostNormBias], layer_norm_eps);
  return unit_length(at::linear(pooled, p[kVisualProjection]));
}

at::Tensor clip_text_embed(Parameters p, const at::Tensor& ids_BT) {
  return at::embedding(p[kTokenEmbedding], ids_BT) + p[kTextPosition].narrow(0, 0, ids_BT.size(1));
}

at::Tensor clip_text_head(Parameters p, const at::Tensor& h_BTD, const at::Tensor& pooled_B, double layer_norm_eps) {
  const int64_t rows = h_BTD.size(0), length = h_BTD.size(1), width = h_BTD.size(2);
  at::Tensor places = at::arange(rows, pooled_B.options()) * length + pooled_B;
  at::Tensor pooled = h_BTD.reshape({rows * length, width}).index_select(0, places);
  return unit_length(
      at::linear(norm(pooled, p[kTextNormWeight], p[kTextNormBias], layer_norm_eps), p[kTextProjection]));
}

at::Tensor clip_loss(const at::Tensor& image_BE, const at::Tensor& text_BE, const at::Tensor& logit_scale) {
  at::Tensor logits = at::matmul(text_BE, image_BE.t()) * logit_scale.exp();
  at::Tensor pair = at::arange(logits.size(0), at::TensorOptions(at::kLong).device(logits.device()));
  at::Tensor by_text = at::cross_entropy_loss(logits, pair, {}, at::Reduction::Sum);
  at::Tensor by_image = at::cross_entropy_loss(logits.t(), pair, {}, at::Reduction::Sum);
  return (by_text + by_image) / 2;
}

}  // namespace tephra::model
