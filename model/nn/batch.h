// Micro-batches: tokenized samples merged with their image slots.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "model/spec/model_config.h"
#include "sharding/exec/unit_module.h"

namespace tephra::model {

class FeatureCache;

inline constexpr int32_t kImageToken = -200;   // in ids: one image goes here
inline constexpr int32_t kIgnoreLabel = -100;  // in labels: no loss

struct TokenizedSample {
  std::vector<int32_t> ids;          // kImageToken where an image stands
  std::vector<int32_t> labels;       // of the same length; kIgnoreLabel where there is no loss
  std::vector<const float*> images;  // one per kImageToken, each 3 * S * S preprocessed pixels; read by make_batch only
  uint64_t position = 0;             // place in the epoch order
};

// How the samples of a micro-batch lie in its tensors.
enum class Padding {
  kNone,   // for training: end to end in one row where their lengths differ, a row each where they do not
  kRight,  // for generation: a row each. No mask is needed: attention is causal and padded places have no loss
};

// B rows of T places. Either a row for each sample, or one row with all of them, packed().
struct LlavaBatch : sharding::MicroBatch {
  at::Tensor pixels_ICHW;        // float32 [images, 3, S, S]; undefined without images
  at::Tensor ids_BT;             // int64; 0 at image places and in the padding
  at::Tensor image_rows;         // int64 [k]: places in the flattened [B * T] that image tokens fill
  at::Tensor image_sources;      // int64 [k]: which of the [images * tokens_per_image] fills each
  at::Tensor target_rows;        // int64 [n]: places whose next token is supervised, ascending
  at::Tensor targets;            // int64 [n]: that next token
  at::Tensor target_sample;      // int64 [n]: the sample it is in
  std::vector<int64_t> lengths;  // merged length of each sample
  at::Tensor places_T;           // int64 [T], packed() only: each token's place in its own sample

  bool packed() const { return places_T.defined(); }
  // Set by FeatureCache::look_up(); else empty and null. For each image the tower's output, undefined where it is not
  // kept, and what it is kept by.
  std::vector<at::Tensor> features;
  std::vector<Hash128> feature_keys;
  FeatureCache* cache = nullptr;
};

// What units of a LLaVA model or a language model are given. Checked: an executor has one kind of batch for all.
const LlavaBatch& llava_batch(const sharding::MicroBatch& batch);

// Each kImageToken becomes tokens_per_image places without loss; what passes max_length is cut. An image whose places
// are all cut is left out. kInvalidArgument: no samples, an empty sample, ids and labels that differ in length, images
// that do not count as many as the kImageTokens (a sample without any may still hold images: they are left out), an id
// outside the vocabulary.
Result<LlavaBatch> make_batch(std::span<const TokenizedSample> samples, const ModelConfig& config, int64_t max_length,
                              Padding padding = Padding::kNone);
// The same for a language model alone (no images).
Result<LlavaBatch> make_lm_batch(std::span<const TokenizedSample> samples, const LlamaConfig& config,
                                 int64_t max_length, Padding padding = Padding::kNone);

struct ClipSample {
  std::vector<int32_t> ids;       // with BOS and EOS, at most max_position_embeddings (cut, the last id kept)
  const float* pixels = nullptr;  // 3 * S * S; read by make_clip_batch only
  uint64_t position = 0;
};
struct ClipBatch : sharding::MicroBatch {  // loss_tokens = pairs
  at::Tensor pixels_BCHW;
  at::Tensor ids_BT;  // int64, padded with pad_token_id
  at::Tensor pooled;  // int64 [B]: the place that stands for the text
};
Result<ClipBatch> make_clip_batch(std::span<const ClipSample> samples, const ClipConfig& config);

}  // namespace tephra::model
