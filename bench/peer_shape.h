// The model shape that the peers are measured with: CLIP at 224 px and patch 14 (width 256, 6 layers), linear connector, LLaMA of width
// 512 with 8 layers, 8 heads and a vocabulary of 32,000.
#pragma once

#include <algorithm>
#include <vector>

#include "model/spec/model_config.h"

namespace tephra::bench {

inline model::ModelConfig peer_shape() {
  model::ModelConfig c;
  c.vision.hidden_size = 256, c.vision.intermediate_size = 1024, c.vision.num_layers = 6, c.vision.num_heads = 4;
  c.vision.image_size = 224, c.vision.patch_size = 14;
  c.vision_layer = -1;
  c.text.hidden_size = 512, c.text.intermediate_size = 1376, c.text.num_layers = 8, c.text.num_heads = 8;
  c.text.num_kv_heads = 8, c.text.head_dim = 64, c.text.vocab_size = 32000;
  c.text.max_position_embeddings = 4096;
  c.connector = {"linear", 256, 512};
  return c;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace tephra::bench
