#include "model/nn/llama.h"

#include <algorithm>
#include <numbers>

#include "model/nn/thin_linear.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

constexpr int64_t kLogitsPerChunk = int64_t{1} << 25;  // 128 MiB of float32

at::Tensor split_heads(const at::Tensor& x_BTD, int64_t count, int64_t head_dim) {  // [B, N, T, H]
  return x_BTD.view({x_BTD.size(0), x_BTD.size(1), count, head_dim}).transpose(1, 2);
}

at::Tensor rotate(const at::Tensor& x, const Rotary& rotary) {
  const int64_t half = x.size(-1) / 2;
  at::Tensor turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return x * rotary.cos.to(x.scalar_type()) + turned * rotary.sin.to(x.scalar_type());
}

struct Qkv {
  at::Tensor q_BNTH, k_BGTH, v_BGTH;
};

// A block's projections with their adapters.
struct Projections {
  Parameters p;
  const Adapters& adapters;

  at::Tensor operator()(LlamaBlockTensor place, const at::Tensor& x) const {
    at::Tensor y = thin_linear(x, p[place]);
    const auto& [a, b] = adapters.at[place];
    return a.defined() ? y + thin_linear(thin_linear(x, a) * adapters.scale, b) : y;
  }
};

Qkv project(Parameters p, const at::Tensor& h_BTD, const Rotary& rotary, const LlamaConfig& c,
            const Adapters& adapters = {}) {
  const Projections linear{p, adapters};
  at::Tensor x = rms_norm(h_BTD, p[kInputNorm], c.rms_norm_eps);
  return {rotate(split_heads(linear(kQ, x), c.num_heads, c.head_dim), rotary),
          rotate(split_heads(linear(kK, x), c.num_kv_heads, c.head_dim), rotary),
          split_heads(linear(kV, x), c.num_kv_heads, c.head_dim)};
}

// Each key-value head serves N / G query heads that follow one another.
at::Tensor repeat_heads(const at::Tensor& x_BGTH, int64_t times) {
  if (times == 1) return x_BGTH;
  const int64_t b = x_BGTH.size(0), g = x_BGTH.size(1), t = x_BGTH.size(2), h = x_BGTH.size(3);
  return x_BGTH.unsqueeze(2).expand({b, g, times, t, h}).reshape({b, g * times, t, h});
}

at::Tensor attend_causal(const Qkv& qkv, const LlamaConfig& c) {
  const int64_t times = c.num_heads / c.num_kv_heads;
  return at::scaled_dot_product_attention(qkv.q_BNTH, repeat_heads(qkv.k_BGTH, times), repeat_heads(qkv.v_BGTH, times),
                                          {}, 0.0,
                                          /*is_causal=*/true);
}

// Output projection with the residual, then the MLP (SwiGLU, Shazeer 2020) with its own.
at::Tensor finish_block(Parameters p, const at::Tensor& h_BTD, const at::Tensor& attended_BTD, const LlamaConfig& c,
                        const Adapters& adapters = {}) {
  const Projections linear{p, adapters};
  at::Tensor h = h_BTD + linear(kO, attended_BTD);
  at::Tensor x = rms_norm(h, p[kPostNorm], c.rms_norm_eps);
  return h + linear(kDown, at::silu(linear(kGate, x)) * linear(kUp, x));
}

at::Tensor join_heads(const at::Tensor& x_BNTH) {
  return x_BNTH.transpose(1, 2).reshape({x_BNTH.size(0), x_BNTH.size(2), x_BNTH.size(1) * x_BNTH.size(3)});
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  at::Tensor wide = x.to(at::kFloat);
  at::Tensor scaled = wide * at::rsqrt(wide.pow(2).mean({-1}, /*keepdim=*/true) + eps);
  return weight * scaled.to(x.scalar_type());
}

namespace {

at::Tensor scaled(const at::Tensor& frequencies, const RopeScaling& rope) {
  if (rope.kind == "default") return frequencies;
  const at::Tensor slowed = frequencies / rope.factor;
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
                       const Adapters& adapters) {
  const at::Tensor attended = join_heads(attend_causal(project(p, h_BTD, rotary, config, adapters), config));
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

// Calls use(chunk's losses) for each chunk of targets, in order.
template <typename Use>
void for_each_chunk(Parameters p, const at::Tensor& h_BTD, const at::Tensor& rows, const at::Tensor& targets,
                    const LlamaConfig& c, at::Reduction::Reduction reduction, Use use) {
  at::Tensor flat = h_BTD.reshape({-1, h_BTD.size(-1)});
  const int64_t chunk = std::max<int64_t>(1, kLogitsPerChunk / c.vocab_size);
  for (int64_t begin = 0; begin < rows.size(0); begin += chunk) {
    const int64_t count = std::min(chunk, rows.size(0) - begin);
    at::Tensor logits = llama_logits(p, flat.index_select(0, rows.narrow(0, begin, count)), c).to(at::kFloat);
    use(at::cross_entropy_loss(logits, targets.narrow(0, begin, count), {}, reduction));
  }
}

}  // namespace

at::Tensor llama_loss(Parameters p, const at::Tensor& h_BTD, const at::Tensor& target_rows, const at::Tensor& targets,
                      const LlamaConfig& config) {
  at::Tensor sum;
  for_each_chunk(p, h_BTD, target_rows, targets, config, at::Reduction::Sum,
                 [&](at::Tensor part) { sum = sum.defined() ? sum + part : part; });
  return sum.defined() ? sum : at::zeros({}, h_BTD.options().dtype(at::kFloat));
}

at::Tensor llama_losses(Parameters p, const at::Tensor& h_BTD, const at::Tensor& target_rows, const at::Tensor& targets,
                        const LlamaConfig& config) {
  std::vector<at::Tensor> parts;
  for_each_chunk(p, h_BTD, target_rows, targets, config, at::Reduction::None,
                 [&](at::Tensor part) { parts.push_back(part); });
  return parts.empty() ? at::zeros({0}, h_BTD.options().dtype(at::kFloat)) : at::cat(parts);
}

}  // namespace tephra::model
