#include "model/nn/llama.h"

#include <algorithm>
#include <numbers>

#include "model/nn/fused.h"
#include "model/nn/packed_attention.h"
#include "model/nn/thin_linear.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

at::Tensor split_heads(const at::Tensor& x_BTD, int64_t count, int64_t head_dim) {  // [B, T, N, H]
  return x_BTD.view({x_BTD.size(0), x_BTD.size(1), count, head_dim});
}

at::Tensor rotate(const at::Tensor& x_BTNH, const Rotary& rotary) {
  if (rotary.cos.dim() == 2) return fused_rotate(x_BTNH, rotary.cos, rotary.sin);
  // One token a row, each at its own place: rows stand where places do.
  const int64_t rows = x_BTNH.size(0);
  return fused_rotate(x_BTNH.transpose(0, 1), rotary.cos.view({rows, -1}), rotary.sin.view({rows, -1})).transpose(0, 1);
}

struct Qkv {
  at::Tensor q_BNTH, k_BGTH, v_BGTH;
};

// A block's projections with their adapters. Products that are trained through are fused; the others may be thin.
struct Projections {
  Parameters p;
  const Adapters& adapters;

  std::vector<at::Tensor> operator()(std::initializer_list<LlamaBlockTensor> places, const at::Tensor& x) const {
    std::vector<at::Tensor> weights, outputs;
    for (const LlamaBlockTensor place : places) weights.push_back(p[place]);
    if (at::GradMode::is_enabled()) {
      outputs = fused_linears(x, weights);
    } else {
      for (const at::Tensor& weight : weights) outputs.push_back(thin_linear(x, weight));
    }
    size_t i = 0;
    for (const LlamaBlockTensor place : places) {
      if (adapters.at[place].a_RI.defined()) outputs[i] = outputs[i] + adapted(place, x);
      ++i;
    }
    return outputs;
  }

  // residual + the projection of x.
  at::Tensor add(LlamaBlockTensor place, const at::Tensor& x, const at::Tensor& residual) const {
    const at::Tensor sum =
        at::GradMode::is_enabled() ? fused_linear_add(x, p[place], residual) : residual + thin_linear(x, p[place]);
    return adapters.at[place].a_RI.defined() ? sum + adapted(place, x) : sum;
  }

  at::Tensor adapted(LlamaBlockTensor place, const at::Tensor& x) const {
    const auto& [a, b] = adapters.at[place];
    return thin_linear(thin_linear(x, a) * adapters.scale, b);
  }
};

Qkv project(Parameters p, const at::Tensor& h_BTD, const Rotary& rotary, const LlamaConfig& c,
            const Adapters& adapters = {}) {
  const at::Tensor x = rms_norm(h_BTD, p[kInputNorm], c.rms_norm_eps);
  const std::vector<at::Tensor> qkv = Projections{p, adapters}({kQ, kK, kV}, x);
  return {rotate(split_heads(qkv[0], c.num_heads, c.head_dim), rotary).transpose(1, 2),
          rotate(split_heads(qkv[1], c.num_kv_heads, c.head_dim), rotary).transpose(1, 2),
          split_heads(qkv[2], c.num_kv_heads, c.head_dim).transpose(1, 2)};
}

// Each key-value head serves N / G query heads that follow one another.
at::Tensor repeat_heads(const at::Tensor& x_BGTH, int64_t times) {
  if (times == 1) return x_BGTH;
  const int64_t b = x_BGTH.size(0), g = x_BGTH.size(1), t = x_BGTH.size(2), h = x_BGTH.size(3);
  return x_BGTH.unsqueeze(2).expand({b, g, times, t, h}).reshape({b, g * times, t, h});
}

at::Tensor attend_causal(const Qkv& qkv, const LlamaConfig& c, std::span<const int64_t> packed = {}) {
  const int64_t times = c.num_heads / c.num_kv_heads;
  const at::Tensor k = repeat_heads(qkv.k_BGTH, times), v = repeat_heads(qkv.v_BGTH, times);
  if (!packed.empty()) return packed_causal_attention(qkv.q_BNTH, k, v, packed);
  return at::scaled_dot_product_attention(qkv.q_BNTH, k, v, {}, 0.0, /*is_causal=*/true);
}

// Output projection with the residual, then the MLP (SwiGLU, Shazeer 2020) with its own.
at::Tensor finish_block(Parameters p, const at::Tensor& h_BTD, const at::Tensor& attended_BTD, const LlamaConfig& c,
                        const Adapters& adapters = {}) {
  const Projections linear{p, adapters};
  const at::Tensor h = linear.add(kO, attended_BTD, h_BTD);
  const at::Tensor x = rms_norm(h, p[kPostNorm], c.rms_norm_eps);
  const std::vector<at::Tensor> gate_up = linear({kGate, kUp}, x);
  return linear.add(kDown, fused_swiglu(gate_up[0], gate_up[1]), h);
}

at::Tensor join_heads(const at::Tensor& x_BNTH) {
  return x_BNTH.transpose(1, 2).reshape({x_BNTH.size(0), x_BNTH.size(2), x_BNTH.size(1) * x_BNTH.size(3)});
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return fused_rms_norm(x, weight, eps);
}

namespace {

at::Tensor scaled(const at::Tensor& frequencies, const RopeScaling& rope) {
  if (rope.kind == "default") return frequencies;
  at::Tensor slowed = frequencies / rope.factor;
  if (rope.kind == "linear") return slowed;
  // llama3: how many waves fit into the original length says how much of a frequency stays as it is.
  const at::Tensor waves = frequencies * (static_cast<double>(rope.original_length) / (2 * std::numbers::pi));
  const at::Tensor kept =
      ((waves - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0.0, 1.0);
  return slowed * (1 - kept) + frequencies * kept;
}

}  // namespace

Rotary rotary_tables(const at::Tensor& positions, const LlamaConfig& config) {
  at::TensorOptions options = at::TensorOptions(at::kFloat).device(positions.device());
  at::Tensor exponents = at::arange(0, config.head_dim, 2, options) / static_cast<double>(config.head_dim);
  at::Tensor frequencies = scaled(1.0 / at::pow(config.rope_theta, exponents), config.rope_scaling);
  at::Tensor angles = positions.to(at::kFloat).unsqueeze(-1) * frequencies;
  angles = at::cat({angles, angles}, -1);
  return {angles.cos(), angles.sin()};
}

at::Tensor llama_block(Parameters p, const at::Tensor& h_BTD, const Rotary& rotary, const LlamaConfig& config,
                       const Adapters& adapters, std::span<const int64_t> packed) {
  const at::Tensor attended = join_heads(attend_causal(project(p, h_BTD, rotary, config, adapters), config, packed));
  return finish_block(p, h_BTD, attended, config, adapters);
}

at::Tensor llama_block_prefill(Parameters p, const at::Tensor& h_BTD, const Rotary& rotary, const LlamaConfig& config,
                               LayerCache& cache) {
  Qkv qkv = project(p, h_BTD, rotary, config);
  cache.keys.narrow(2, 0, h_BTD.size(1)).copy_(qkv.k_BGTH);
  cache.values.narrow(2, 0, h_BTD.size(1)).copy_(qkv.v_BGTH);
  return finish_block(p, h_BTD, join_heads(attend_causal(qkv, config)), config);
}

at::Tensor llama_block_decode(Parameters p, const at::Tensor& h_B1D, const Rotary& rotary, const LlamaConfig& c,
                              LayerCache& cache, const at::Tensor& slots, const at::Tensor& visible_B11L,
                              int64_t used) {
  const int64_t rows = h_B1D.size(0), times = c.num_heads / c.num_kv_heads;
  Qkv qkv = project(p, h_B1D, rotary, c);
  cache.keys.view({-1, c.head_dim}).index_copy_(0, slots, qkv.k_BGTH.reshape({-1, c.head_dim}));
  cache.values.view({-1, c.head_dim}).index_copy_(0, slots, qkv.v_BGTH.reshape({-1, c.head_dim}));
  // With one query a row, the query heads that share a key-value head stand where queries do: nothing is repeated or
  // copied.
  at::Tensor q_BGRH = qkv.q_BNTH.reshape({rows, c.num_kv_heads, times, c.head_dim});
  at::Tensor a_BGRH = at::scaled_dot_product_attention(q_BGRH, cache.keys.narrow(2, 0, used),
                                                       cache.values.narrow(2, 0, used), visible_B11L);
  return finish_block(p, h_B1D, a_BGRH.reshape({rows, 1, c.num_heads * c.head_dim}), c);
}

at::Tensor llama_logits(Parameters p, const at::Tensor& x_ND, const LlamaConfig& config) {
  return thin_linear(rms_norm(x_ND, p[kFinalNorm], config.rms_norm_eps), p[kLmHead]);
}

namespace {

at::Tensor rows_of(const at::Tensor& h_BTD, const at::Tensor& rows) {
  return h_BTD.reshape({-1, h_BTD.size(-1)}).index_select(0, rows);
}

}  // namespace

at::Tensor llama_loss(Parameters p, const at::Tensor& h_BTD, const at::Tensor& target_rows, const at::Tensor& targets,
                      const LlamaConfig& config) {
  const at::Tensor x = rms_norm(rows_of(h_BTD, target_rows), p[kFinalNorm], config.rms_norm_eps);
  return fused_head_loss(x, p[kLmHead], targets);
}

at::Tensor llama_losses(Parameters p, const at::Tensor& h_BTD, const at::Tensor& target_rows, const at::Tensor& targets,
                        const LlamaConfig& c) {
  std::vector<at::Tensor> parts;
  const int64_t chunk = std::max<int64_t>(1, kLogitsAtOnce / c.vocab_size);
  for (int64_t begin = 0; begin < target_rows.size(0); begin += chunk) {
    const int64_t count = std::min(chunk, target_rows.size(0) - begin);
    const at::Tensor logits = llama_logits(p, rows_of(h_BTD, target_rows.narrow(0, begin, count)), c).to(at::kFloat);
    parts.push_back(at::cross_entropy_loss(logits, targets.narrow(0, begin, count), {}, at::Reduction::None));
  }
  return parts.empty() ? at::zeros({0}, h_BTD.options().dtype(at::kFloat)) : at::cat(parts);
}

}  // namespace tephra::model
