// Sizes and constants of a LLaVA-style model, read from Hugging Face folders. Fields that a config.json may leave out
// carry transformers' defaults. Loaders fail with kInvalidArgument or kUnsupported and a sentence that names file and
// key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"

namespace tephra::model {

struct ClipVisionConfig {  // transformers' CLIPVisionModel
  int64_t hidden_size = 768, intermediate_size = 3072, num_layers = 12, num_heads = 12;
  int64_t image_size = 224, patch_size = 32;
  double layer_norm_eps = 1e-5;
  std::string hidden_act = "quick_gelu";  // or "gelu" (erf)
  int64_t patches() const { return (image_size / patch_size) * (image_size / patch_size); }
  bool operator==(const ClipVisionConfig&) const = default;
};

struct ClipTextConfig {  // transformers' CLIPTextModel
  int64_t vocab_size = 49408, hidden_size = 512, intermediate_size = 2048, num_layers = 12, num_heads = 8;
  int64_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
  std::string hidden_act = "quick_gelu";
  // The pooled position is the first eos_token_id; with 2 it is the first largest id, as transformers does for old
  // files.
  int64_t bos_token_id = 49406, eos_token_id = 49407, pad_token_id = 1;
  bool operator==(const ClipTextConfig&) const = default;
};

struct ClipConfig {  // transformers' CLIPModel: both towers, for contrastive training
  ClipVisionConfig vision;
  ClipTextConfig text;
  int64_t projection_dim = 512;
  double logit_scale_init_value = 2.6592;
  bool operator==(const ClipConfig&) const = default;
};

// How rotary positions reach beyond the length that a model was trained at, by the names of transformers' rope_type.
struct RopeScaling {
  // "default": not at all. "linear": positions are divided by `factor` (Chen et al. 2023). "llama3": waves that are long against
  // `original_length` are divided by `factor`, short ones are left, those between are mixed (LLaMA 3.1).
  std::string kind = "default";
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  int64_t original_length = 8192;  // original_max_position_embeddings
  bool operator==(const RopeScaling&) const = default;
};

struct LlamaConfig {  // transformers' LlamaForCausalLM
  int64_t hidden_size = 4096, intermediate_size = 11008, num_layers = 32, num_heads = 32, num_kv_heads = 32,
          head_dim = 128;
  int64_t vocab_size = 32000;
  double rms_norm_eps = 1e-6, rope_theta = 10000.0;
  RopeScaling rope_scaling;
  int64_t max_position_embeddings = 2048;
  int64_t bos_token_id = 1, eos_token_id = 2, pad_token_id = 0;
  // The head's weights are the embedding's (tie_word_embeddings): such a model has no lm_head.weight.
  bool tied_head = false;
  bool operator==(const LlamaConfig&) const = default;
};

struct ConnectorConfig {
  std::string kind = "mlp2x_gelu";  // "linear" (one projection) or "mlp2x_gelu" (projection, erf GELU, projection)
  int64_t in = 0, out = 0;          // vision width, language width
  bool operator==(const ConnectorConfig&) const = default;
};

struct ModelConfig {
  ClipVisionConfig vision;
  LlamaConfig text;
  ConnectorConfig connector;
  int vision_layer = -2;              // index into hidden_states, as transformers' vision_feature_layer
  bool drop_class_token = true;       // vision_feature_select_strategy "default" ("patch" in the original), else "full"
  int64_t image_token_index = 32000;  // of the exported config; inside the program an image is kImageToken
  // Encoder layers that have to run to reach vision_layer: the embedding output alone is 0.
  int64_t vision_layers_used() const {
    return vision_layer < 0 ? vision.num_layers + 1 + vision_layer : static_cast<int64_t>(vision_layer);
  }
  // Language tokens that one image becomes.
  int64_t tokens_per_image() const { return vision.patches() + (drop_class_token ? 0 : 1); }
  bool operator==(const ModelConfig&) const = default;
};

// Where a model lies: `model`, a llava-hf folder; or the parts, a CLIP folder, a connector .safetensors file (or its
// folder; may be empty when the connector is to be initialised) and a LLaMA folder.
struct ModelPaths {
  std::string model{};
  std::string vision{}, connector{}, llm{};
};

// What parts do not say about themselves.
struct PartsOptions {
  std::string connector_kind{};  // "" takes it from the connector file; required without one
  std::optional<int>
      vision_layer{};  // unset: the mm_vision_select_layer of a config.json beside the connector, else -2
};

Result<ModelConfig> load_model_config(const ModelPaths& paths, const PartsOptions& options = {});
Result<ClipVisionConfig> load_clip_vision_config(const std::string& folder);  // CLIPModel or CLIPVisionModel folder
Result<ClipConfig> load_clip_config(const std::string& folder);               // CLIPModel folder
Result<LlamaConfig> load_llama_config(const std::string& folder);             // LlamaForCausalLM folder

// Sizes fit together and every constant is one that this program computes; `where` names the source in the message.
Status check_config(const ClipVisionConfig& config, const std::string& where);
Status check_config(const ClipConfig& config, const std::string& where);
Status check_config(const LlamaConfig& config, const std::string& where);
Status check_config(const ModelConfig& config, const std::string& where);

}  // namespace tephra::model
