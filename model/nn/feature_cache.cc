#include "model/nn/feature_cache.h"

#include "model/nn/batch.h"
#include "sharding/exec/aten.h"

namespace tephra::model {

void FeatureCache::look_up(LlavaBatch& batch) {
  batch.cache = this;
  const int64_t images = batch.pixels_ICHW.defined() ? batch.pixels_ICHW.size(0) : 0;
  batch.feature_keys.clear();
  batch.features.assign(static_cast<size_t>(images), {});
  for (int64_t i = 0; i < images; ++i) {
    const int64_t each = batch.pixels_ICHW.numel() / images;
    Hasher hasher;
    hasher.update(std::as_bytes(std::span(&tower_, 1)));
    hasher.update(std::as_bytes(std::span(batch.pixels_ICHW.const_data_ptr<float>() + i * each, each)));
    const Hash128 key = hasher.digest();
    batch.feature_keys.push_back(key);
    const auto found = features_.find(key);
    ++(found == features_.end() ? missed_ : found_);
    if (found != features_.end()) batch.features[static_cast<size_t>(i)] = found->second;
  }
}

void FeatureCache::keep(const Hash128& key, const at::Tensor& features) {
  const auto bytes = static_cast<int64_t>(features.nbytes());
  if (held_bytes_ + bytes > max_bytes_ || features.requires_grad()) return;
  if (features_.emplace(key, features).second) held_bytes_ += bytes;
}

}  // namespace tephra::model
