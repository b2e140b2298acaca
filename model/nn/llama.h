// LLaMA (Touvron et al. 2023) as functions of its parameters; numbers equal transformers' LlamaForCausalLM with eager
// attention. Shapes: B rows, T tokens, D width, N query heads, G key-value heads, H head size, V vocabulary. `p`: a
// unit's tensors.
#pragma once

#include <array>
#include <span>

#include "model/nn/clip.h"
#include "model/spec/units.h"

namespace tephra::model {

// x * rsqrt(mean(x^2) + eps) in float32, cast back, times weight (Zhang and Sennrich 2019).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Rotary tables (Su et al. 2021), halves paired as Hugging Face does (i with i + H / 2): cos and sin of positions, each
// [..., H] float32.
struct Rotary {
  at::Tensor cos, sin;
};
Rotary rotary_tables(const at::Tensor& positions, const LlamaConfig& config);

// Low-rank adapters of a block (Hu et al. 2021), R their rank: the projection at place i of LlamaBlockTensor gives
// W x + scale * B (A x). Undefined where there is none.
struct Adapters {
  struct Pair {
    at::Tensor a_RI, b_OR;
  };
  std::array<Pair, kDown + 1> at{};
  double scale = 0;
};

// Causal over rows that all start at position 0; right padding is harmless. rotary: of the T places, [T, H]. With `packed`, the lengths
// of sequences that lie end to end in one row (B = 1): over each of them by itself.
at::Tensor llama_block(Parameters p, const at::Tensor& h_BTD, const Rotary& rotary, const LlamaConfig& config,
                       const Adapters& adapters = {}, std::span<const int64_t> packed = {});

// The keys and values of one block for a batch of rows, allocated once: [B, G, L, H].
struct LayerCache {
  at::Tensor keys, values;
};
// The same block for whole prompts, keeping keys and values of places 0 .. T - 1.
at::Tensor llama_block_prefill(Parameters p, const at::Tensor& h_BTD, const Rotary& rotary, const LlamaConfig& config,
                               LayerCache& cache);
// One new token in each row: h_B1D; rotary [B, 1, 1, H] of the rows' own positions. slots int64 [B * G]: where the new
// keys go in the flattened [B * G * L]. visible_B11L (bool): the places in the first `used` of the cache that each row
// attends to, its own included.
at::Tensor llama_block_decode(Parameters p, const at::Tensor& h_B1D, const Rotary& rotary, const LlamaConfig& config,
                              LayerCache& cache, const at::Tensor& slots, const at::Tensor& visible_B11L, int64_t used);

// Final norm and logits of the given rows x_ND: [N, V], in the parameters' dtype.
at::Tensor llama_logits(Parameters p, const at::Tensor& x_ND, const LlamaConfig& config);

// Sum of -log softmax(logits)[target] over rows of h_BTD (flattened) in float32; at most kLogitsAtOnce logits (fused.h) exist at a
// time. A float32 zero when there are no rows.
at::Tensor llama_loss(Parameters p, const at::Tensor& h_BTD, const at::Tensor& target_rows, const at::Tensor& targets,
                      const LlamaConfig& config);
// The same, one number a target: [n] float32.
at::Tensor llama_losses(Parameters p, const at::Tensor& h_BTD, const at::Tensor& target_rows, const at::Tensor& targets,
                        const LlamaConfig& config);

}  // namespace tephra::model
