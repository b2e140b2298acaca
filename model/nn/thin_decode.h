// A step of decoding on the CPU: the arithmetic of llama_block_decode and llama_logits for a few rows, on plain memory. A step through
// LibTorch is some 200 small operations, whose start costs more than their work.
// Shapes as in llama.h; L places in the cache.
#pragma once

#include <span>
#include <vector>

#include "model/nn/llama.h"

namespace tephra::model {

using UnitTensors = std::vector<at::Tensor>;

struct LlamaWeights {
  UnitTensors embed, head;
  std::vector<UnitTensors> blocks;
};

// Whether thin_decode takes this model and number of rows: on the CPU, float32 or bfloat16, at most kThinRows rows, all widths
// multiples of 8.
bool fits_thin_decode(const LlamaWeights& weights, const LlamaConfig& config, int64_t rows);

// One new token in each row, ids[r] at positions[r], which is also its place in the row's cache: the keys and values of the places
// before it are read, its own written. rotary: tables [L, H] of all places. Logits [B, V] float32.
// Sums are in float32; bfloat16 rounds only what the cache keeps. A row's numbers do not depend on the other rows, nor on the number
// of threads. Threading: one thread at a time; uses at::parallel_for.
at::Tensor thin_decode(const LlamaWeights& weights, const LlamaConfig& config, const Rotary& rotary,
                       std::span<const int64_t> ids, std::span<const int64_t> positions,
                       std::vector<LayerCache>& caches);

}  // namespace tephra::model
