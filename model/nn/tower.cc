#include "model/nn/tower.h"

#include "model/nn/batch.h"
#include "model/nn/clip.h"
#include "model/nn/feature_cache.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

using sharding::Activations;
using sharding::MicroBatch;
using sharding::UnitModule;
using Tensors = std::vector<at::Tensor>;

int64_t images_in(const LlavaBatch& batch) { return batch.pixels_ICHW.defined() ? batch.pixels_ICHW.size(0) : 0; }
bool kept(const LlavaBatch& batch, int64_t image) {
  return !batch.features.empty() && batch.features[static_cast<size_t>(image)].defined();
}

// Of all pictures: those that were computed, in order, and between them those that were kept.
Activations together(const Activations& computed, const LlavaBatch& batch) {
  const int64_t images = images_in(batch);
  if (images == 0) return {};
  Tensors all;
  auto next = computed.begin();
  for (int64_t i = 0; i < images; ++i) {
    if (kept(batch, i)) {
      all.push_back(batch.features[static_cast<size_t>(i)]);
      continue;
    }
    if (batch.cache != nullptr) batch.cache->keep(batch.feature_keys[static_cast<size_t>(i)], *next);
    all.push_back(*next++);
  }
  return {all.size() == 1 ? all[0] : at::cat(all, 0)};
}

class TowerEmbed : public UnitModule {
 public:
  TowerEmbed(ClipVisionConfig config, bool last) : config_(std::move(config)), last_(last) {}
  Activations forward(const Tensors& p, const Activations&, const MicroBatch& batch) override {
    const LlavaBatch& b = llava_batch(batch);
    Activations out;
    for (int64_t i = 0; i < images_in(b); ++i) {
      if (kept(b, i)) continue;
      // A copy, so that every picture starts at an alignment of its own and kernels take one path.
      const at::Tensor pixels = b.pixels_ICHW.narrow(0, i, 1).clone().to(p[0].options());
      out.push_back(clip_vision_embed(p, pixels, config_));
    }
    return last_ ? together(out, b) : out;
  }

 private:
  const ClipVisionConfig config_;
  const bool last_;
};

class TowerBlock : public UnitModule {
 public:
  TowerBlock(const ClipBlockOptions& options, bool last) : options_(options), last_(last) {}
  Activations forward(const Tensors& p, const Activations& in, const MicroBatch& batch) override {
    Activations out;
    for (const at::Tensor& h : in) out.push_back(clip_block(p, h, options_));
    return last_ ? together(out, llava_batch(batch)) : out;
  }

 private:
  const ClipBlockOptions options_;
  const bool last_;
};

}  // namespace

std::vector<std::unique_ptr<UnitModule>> make_tower(const ClipVisionConfig& c, int64_t layers) {
  const ClipBlockOptions options{c.num_heads, c.layer_norm_eps, c.hidden_act == "quick_gelu", /*causal=*/false};
  std::vector<std::unique_ptr<UnitModule>> modules;
  modules.push_back(std::make_unique<TowerEmbed>(c, layers == 0));
  for (int64_t i = 0; i < layers; ++i) modules.push_back(std::make_unique<TowerBlock>(options, i + 1 == layers));
  return modules;
}

}  // namespace tephra::model
