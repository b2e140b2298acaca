#include "model/nn/units.h"

#include <algorithm>
#include <span>

#include "model/nn/batch.h"
#include "model/nn/connector.h"
#include "model/nn/fused.h"
#include "model/nn/llama.h"
#include "model/nn/tower.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

using sharding::Activations;
using sharding::MicroBatch;
using sharding::UnitModule;
using Tensors = std::vector<at::Tensor>;

const ClipBatch& clip_batch(const MicroBatch& batch) {
  const auto* out = dynamic_cast<const ClipBatch*>(&batch);
  TEPHRA_CHECK(out != nullptr, "a text unit was given a batch that is no ClipBatch");
  return *out;
}

// A unit computes in its parameters' dtype, whatever the one before it did.
at::Tensor as(const Tensors& p, const at::Tensor& x) { return x.to(p[0].scalar_type()); }

ClipBlockOptions block_options(const ClipVisionConfig& c) {
  return {c.num_heads, c.layer_norm_eps, c.hidden_act == "quick_gelu", /*causal=*/false};
}
ClipBlockOptions block_options(const ClipTextConfig& c) {
  return {c.num_heads, c.layer_norm_eps, c.hidden_act == "quick_gelu", /*causal=*/true};
}

class ClipVisionEmbed : public UnitModule {
 public:
  explicit ClipVisionEmbed(ClipVisionConfig config) : config_(std::move(config)) {}
  Activations forward(const Tensors& p, const Activations&, const MicroBatch& batch) override {
    return {clip_vision_embed(p, clip_batch(batch).pixels_BCHW.to(p[0].options()), config_)};
  }

 private:
  ClipVisionConfig config_;
};

// Works on the first activation and passes on the rest.
class ClipBlock : public UnitModule {
 public:
  explicit ClipBlock(ClipBlockOptions options) : options_(options) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch&) override {
    Activations out = in;
    out[0] = clip_block(p, as(p, in[0]), options_);
    return out;
  }

 private:
  ClipBlockOptions options_;
};

class Connector : public UnitModule {
 public:
  Connector(ConnectorConfig config, bool drop_class_token)
      : config_(std::move(config)), drop_class_token_(drop_class_token) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch&) override {
    if (in.empty()) return {};
    const at::Tensor features = as(p, in[0]);
    return {connect(p, drop_class_token_ ? features.narrow(1, 1, features.size(1) - 1) : features, config_)};
  }

 private:
  ConnectorConfig config_;
  bool drop_class_token_;
};

// With a tied head the table goes along the chain, as a copy, since parameters may be freed before the head runs.
class LlamaEmbed : public UnitModule {
 public:
  explicit LlamaEmbed(bool tied_head) : tied_head_(tied_head) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch& batch) override {
    const LlavaBatch& b = llava_batch(batch);
    at::Device device = p[0].device();
    at::Tensor h = fused_embedding(p[0], b.ids_BT.to(device));
    if (!in.empty()) {
      const int64_t width = h.size(-1);
      at::Tensor tokens = as(p, in[0]).reshape({-1, width}).index_select(0, b.image_sources.to(device));
      h = h.view({-1, width}).index_copy(0, b.image_rows.to(device), tokens).view(h.sizes());
    }
    if (tied_head_) return {h, p[0].clone()};
    return {h};
  }

 private:
  bool tied_head_;
};

// The adapters of all blocks, as activations: copies, since parameters may be freed before the blocks run.
class LoraSource : public UnitModule {
 public:
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch&) override {
    Activations out = {in[0]};
    for (const at::Tensor& t : p) out.push_back(t.clone());
    out.insert(out.end(), in.begin() + 1, in.end());
    return out;
  }
};

class LlamaBlock : public UnitModule {
 public:
  LlamaBlock(LlamaConfig config, const std::optional<LoraConfig>& lora) : config_(std::move(config)) {
    if (!lora) return;
    scale_ = lora->scale();
    for (const auto& [target, place] : kLoraTargets)
      if (std::find(lora->targets.begin(), lora->targets.end(), target) != lora->targets.end())
        targets_.push_back(place);
  }
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch& batch) override {
    const LlavaBatch& b = llava_batch(batch);
    Adapters adapters{.scale = scale_};
    auto next = in.begin() + 1;
    for (LlamaBlockTensor place : targets_) {
      adapters.at[place] = {as(p, next[0]), as(p, next[1])};
      next += 2;
    }
    const std::span<const int64_t> packed =
        b.packed() ? std::span<const int64_t>(b.lengths) : std::span<const int64_t>();
    Activations out = {llama_block(p, as(p, in[0]), rotary(b, in[0].device()), config_, adapters, packed)};
    out.insert(out.end(), next, in.end());
    return out;
  }

 private:
  Rotary rotary(const LlavaBatch& batch, at::Device device) const {
    const int64_t longest = *std::max_element(batch.lengths.begin(), batch.lengths.end());
    const Rotary tables = rotary_tables(at::arange(longest, at::TensorOptions(at::kLong).device(device)), config_);
    if (!batch.packed()) return tables;
    const at::Tensor places = batch.places_T.to(device);
    return {tables.cos.index_select(0, places), tables.sin.index_select(0, places)};
  }

  LlamaConfig config_;
  std::vector<LlamaBlockTensor> targets_;
  double scale_ = 0;
};

class LlamaHead : public UnitModule {
 public:
  explicit LlamaHead(LlamaConfig config) : config_(std::move(config)) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch& batch) override {
    const LlavaBatch& b = llava_batch(batch);
    Tensors head = p;
    if (config_.tied_head) head.push_back(as(p, in[1]));
    return {llama_loss(head, as(p, in[0]), b.target_rows.to(in[0].device()), b.targets.to(in[0].device()), config_)};
  }

 private:
  LlamaConfig config_;
};

class ClipVisionHead : public UnitModule {
 public:
  explicit ClipVisionHead(double eps) : eps_(eps) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch&) override {
    return {clip_vision_head(p, in[0], eps_)};
  }

 private:
  double eps_;
};

class ClipTextEmbed : public UnitModule {
 public:
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch& batch) override {
    return {clip_text_embed(p, clip_batch(batch).ids_BT.to(p[0].device())), in[0]};
  }
};

class ClipTextHead : public UnitModule {
 public:
  explicit ClipTextHead(double eps) : eps_(eps) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch& batch) override {
    at::Tensor text = clip_text_head(p, in[0], clip_batch(batch).pooled.to(in[0].device()), eps_);
    return {clip_loss(in[1], text, p[kLogitScale])};
  }

 private:
  double eps_;
};

void add_llm(Modules& modules, const LlamaConfig& config, const std::optional<LoraConfig>& lora) {
  modules.push_back(std::make_unique<LlamaEmbed>(config.tied_head));
  if (lora) modules.push_back(std::make_unique<LoraSource>());
  for (int64_t i = 0; i < config.num_layers; ++i) modules.push_back(std::make_unique<LlamaBlock>(config, lora));
  modules.push_back(std::make_unique<LlamaHead>(config));
}

}  // namespace

Modules make_modules(const ModelConfig& config, const std::optional<LoraConfig>& lora) {
  Modules modules = make_tower(config.vision, config.vision_layers_used());
  modules.push_back(std::make_unique<Connector>(config.connector, config.drop_class_token));
  add_llm(modules, config.text, lora);
  return modules;
}

Modules make_clip_modules(const ClipConfig& config) {
  Modules modules;
  modules.push_back(std::make_unique<ClipVisionEmbed>(config.vision));
  for (int64_t i = 0; i < config.vision.num_layers; ++i)
    modules.push_back(std::make_unique<ClipBlock>(block_options(config.vision)));
  modules.push_back(std::make_unique<ClipVisionHead>(config.vision.layer_norm_eps));
  modules.push_back(std::make_unique<ClipTextEmbed>());
  for (int64_t i = 0; i < config.text.num_layers; ++i)
    modules.push_back(std::make_unique<ClipBlock>(block_options(config.text)));
  modules.push_back(std::make_unique<ClipTextHead>(config.text.layer_norm_eps));
  return modules;
}

Modules make_lm_modules(const LlamaConfig& config, const std::optional<LoraConfig>& lora) {
  Modules modules;
  add_llm(modules, config, lora);
  return modules;
}

}  // namespace tephra::model
