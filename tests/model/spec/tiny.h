// Tiny models of our own for tests, with initial values.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/tensor_source.h"
#include "model/spec/model_config.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"

namespace tephra::model {

inline LlamaConfig tiny_llama() {
  LlamaConfig c;
  c.hidden_size = 16, c.intermediate_size = 24, c.num_layers = 2, c.num_heads = 4, c.num_kv_heads = 2, c.head_dim = 4;
  c.vocab_size = 40, c.max_position_embeddings = 64;
  return c;
}

inline ModelConfig tiny_model(const std::string& kind = "mlp2x_gelu") {
  ModelConfig c;
  c.vision.hidden_size = 8, c.vision.intermediate_size = 12, c.vision.num_layers = 3, c.vision.num_heads = 2;
  c.vision.image_size = 8, c.vision.patch_size = 4;
  c.text = tiny_llama();
  c.connector = {kind, 8, 16};
  c.image_token_index = c.text.vocab_size;
  return c;
}

inline ClipConfig tiny_clip() {
  ClipConfig c;
  c.vision = tiny_model().vision;
  c.text.vocab_size = 30, c.text.hidden_size = 12, c.text.intermediate_size = 20, c.text.num_layers = 2,
  c.text.num_heads = 3;
  c.text.max_position_embeddings = 7;
  c.text.bos_token_id = 28, c.text.eos_token_id = 29, c.text.pad_token_id = 0;
  c.projection_dim = 10;
  return c;
}

// Weights in memory: larger than initial values and with biases, so that every parameter matters to a loss.
class MemorySource : public TensorSource {
 public:
  MemorySource(const std::vector<sharding::UnitSpec>& units, uint64_t seed) {
    for (const auto& unit : units)
      for (const auto& tensor : unit.tensors) {
        std::vector<float>& values = values_[tensor.name];
        const bool norm = tensor.name.find("norm") != std::string::npos && tensor.name.ends_with(".weight");
        for (int64_t i = 0; i < numel(tensor.shape); ++i)
          values.push_back((norm ? 1.0f : 0.0f) + 0.3f * static_cast<float>(random_normal(
                                                             {seed, key_of(tensor.name), static_cast<uint64_t>(i)})));
        infos_.push_back({tensor.name, DType::kFloat32, tensor.shape});
      }
    std::sort(infos_.begin(), infos_.end(), [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }
  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
    std::copy_n(values_.at(name).begin() + begin, count, out);
    return ok_status();
  }
  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    return read_float32(name, begin, count, reinterpret_cast<float*>(out));
  }

 private:
  std::vector<TensorInfo> infos_;
  std::map<std::string, std::vector<float>> values_;
};

inline std::unique_ptr<TensorSource> tiny_weights(const std::vector<sharding::UnitSpec>& units, uint64_t seed = 7) {
  return std::make_unique<MemorySource>(units, seed);
}

}  // namespace tephra::model
