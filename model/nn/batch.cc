#include "model/nn/batch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

at::Tensor int64_tensor(const std::vector<int64_t>& values) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

Status bad(size_t index, const TokenizedSample& sample, const std::string& what) {
  return {Code::kInvalidArgument, "sample " + std::to_string(index) + " of the micro-batch (position " +
                                      std::to_string(sample.position) + "): " + what};
}

struct Limits {
  int64_t tokens_per_image, vocab_size, image_size, max_length;
};

// One sample after the merge.
struct Merged {
  std::vector<int64_t> ids;
  std::vector<int64_t> labels;
  std::vector<std::pair<int64_t, int64_t>> images;  // first place, how many of its places are kept; in order
};

Status check_sample(size_t index, const TokenizedSample& s, const Limits& limits) {
  if (s.ids.empty()) return bad(index, s, "it has no tokens");
  if (s.ids.size() != s.labels.size())
    return bad(
        index, s,
        std::to_string(s.ids.size()) + " ids and " + std::to_string(s.labels.size()) + " labels differ in number");
  const size_t slots = static_cast<size_t>(std::count(s.ids.begin(), s.ids.end(), kImageToken));
  if (slots != 0 && slots != s.images.size())
    return bad(index, s,
               std::to_string(slots) + " <image> in the text and " + std::to_string(s.images.size()) +
                   " pictures; give one for each");
  if (slots != 0 && limits.tokens_per_image == 0)
    return bad(index, s, "it has an <image>, and the model has no vision tower");
  for (size_t i = 0; i < s.ids.size(); ++i) {
    const bool id_ok = s.ids[i] == kImageToken || (s.ids[i] >= 0 && s.ids[i] < limits.vocab_size);
    const bool label_ok =
        s.labels[i] == kIgnoreLabel || s.ids[i] == kImageToken || (s.labels[i] >= 0 && s.labels[i] < limits.vocab_size);
    if (!id_ok || !label_ok)
      return bad(index, s,
                 "token id " + std::to_string(id_ok ? s.labels[i] : s.ids[i]) +
                     " is outside the model's vocabulary of " + std::to_string(limits.vocab_size) +
                     "; use the tokenizer that belongs to the model");
  }
  return ok_status();
}

Merged merge(const TokenizedSample& s, const Limits& limits) {
  Merged out;
  for (size_t i = 0; i < s.ids.size(); ++i) {
    const int64_t left = limits.max_length - static_cast<int64_t>(out.ids.size());
    if (left <= 0) break;
    if (s.ids[i] == kImageToken) {
      const int64_t kept = std::min(left, limits.tokens_per_image);
      out.images.emplace_back(static_cast<int64_t>(out.ids.size()), kept);
      out.ids.insert(out.ids.end(), static_cast<size_t>(kept), 0);
      out.labels.insert(out.labels.end(), static_cast<size_t>(kept), kIgnoreLabel);
    } else {
      out.ids.push_back(s.ids[i]);
      out.labels.push_back(s.labels[i]);
    }
  }
  return out;
}

at::Tensor copy_pixels(const std::vector<const float*>& images, int64_t size) {
  if (images.empty()) return {};
  at::Tensor out = at::empty({static_cast<int64_t>(images.size()), 3, size, size}, at::kFloat);
  const size_t each = static_cast<size_t>(3 * size * size);
  for (size_t i = 0; i < images.size(); ++i)
    std::memcpy(out.mutable_data_ptr<float>() + i * each, images[i], each * sizeof(float));
  return out;
}

at::Tensor places_of(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> places;
  for (const int64_t length : lengths)
    for (int64_t place = 0; place < length; ++place) places.push_back(place);
  return int64_tensor(places);
}

Result<LlavaBatch> build(std::span<const TokenizedSample> samples, const Limits& limits, Padding padding) {
  if (samples.empty()) return Status(Code::kInvalidArgument, "a micro-batch needs at least one sample");
  if (limits.max_length <= 0)
    return Status(Code::kInvalidArgument, "max_length " + std::to_string(limits.max_length) + " is not above 0");
  std::vector<Merged> merged;
  LlavaBatch batch;
  std::vector<int64_t> begins;  // each sample's, where they are packed
  for (size_t i = 0; i < samples.size(); ++i) {
    TEPHRA_RETURN_IF_ERROR(check_sample(i, samples[i], limits));
    merged.push_back(merge(samples[i], limits));
    batch.lengths.push_back(static_cast<int64_t>(merged.back().ids.size()));
    batch.sample_positions.push_back(samples[i].position);
    begins.push_back(batch.tokens);
    batch.tokens += batch.lengths.back();
  }
  const auto [shortest, longest] = std::minmax_element(batch.lengths.begin(), batch.lengths.end());
  if (padding == Padding::kNone && *shortest != *longest) {
    batch.ids_BT = at::zeros({1, batch.tokens}, at::kLong);
    batch.places_T = places_of(batch.lengths);
  } else {
    batch.ids_BT = at::zeros({static_cast<int64_t>(samples.size()), *longest}, at::kLong);
    for (size_t i = 0; i < begins.size(); ++i) begins[i] = static_cast<int64_t>(i) * *longest;
  }
  std::vector<int64_t> image_rows, image_sources, target_rows, targets, target_sample;
  std::vector<const float*> images;
  for (size_t i = 0; i < merged.size(); ++i) {
    const Merged& m = merged[i];
    const int64_t base = begins[i];
    std::copy(m.ids.begin(), m.ids.end(), batch.ids_BT.mutable_data_ptr<int64_t>() + base);
    for (size_t k = 0; k < m.images.size(); ++k) {
      const int64_t source = static_cast<int64_t>(images.size()) * limits.tokens_per_image;
      for (int64_t t = 0; t < m.images[k].second; ++t) {
        image_rows.push_back(base + m.images[k].first + t);
        image_sources.push_back(source + t);
      }
      images.push_back(samples[i].images[k]);
    }
    for (size_t t = 1; t < m.labels.size(); ++t) {
      if (m.labels[t] == kIgnoreLabel) continue;
      target_rows.push_back(base + static_cast<int64_t>(t) - 1);
      targets.push_back(m.labels[t]);
      target_sample.push_back(static_cast<int64_t>(i));
    }
  }
  batch.pixels_ICHW = copy_pixels(images, limits.image_size);
  batch.image_rows = int64_tensor(image_rows);
  batch.image_sources = int64_tensor(image_sources);
  batch.target_rows = int64_tensor(target_rows);
  batch.targets = int64_tensor(targets);
  batch.target_sample = int64_tensor(target_sample);
  batch.loss_tokens = static_cast<int64_t>(targets.size());
  return batch;
}

}  // namespace

const LlavaBatch& llava_batch(const sharding::MicroBatch& batch) {
  const auto* out = dynamic_cast<const LlavaBatch*>(&batch);
  TEPHRA_CHECK(out != nullptr, "a unit of a LLaVA model was given a batch that is no LlavaBatch");
  return *out;
}

Result<LlavaBatch> make_batch(std::span<const TokenizedSample> samples, const ModelConfig& config, int64_t max_length,
                              Padding padding) {
  return build(samples, {config.tokens_per_image(), config.text.vocab_size, config.vision.image_size, max_length},
               padding);
}

Result<LlavaBatch> make_lm_batch(std::span<const TokenizedSample> samples, const LlamaConfig& config,
                                 int64_t max_length, Padding padding) {
  return build(samples, {0, config.vocab_size, 0, max_length}, padding);
}

Result<ClipBatch> make_clip_batch(std::span<const ClipSample> samples, const ClipConfig& config) {
  if (samples.empty()) return Status(Code::kInvalidArgument, "a micro-batch needs at least one pair");
  ClipBatch batch;
  std::vector<const float*> images;
  std::vector<int64_t> pooled;
  const ClipTextConfig& text = config.text;
  const size_t limit = static_cast<size_t>(text.max_position_embeddings);
  size_t width = 0;
  for (const ClipSample& s : samples) width = std::max(width, std::min(limit, s.ids.size()));
  batch.ids_BT =
      at::full({static_cast<int64_t>(samples.size()), static_cast<int64_t>(width)}, text.pad_token_id, at::kLong);
  for (size_t i = 0; i < samples.size(); ++i) {
    const ClipSample& s = samples[i];
    const std::string where =
        "pair " + std::to_string(i) + " of the micro-batch (position " + std::to_string(s.position) + "): ";
    if (s.ids.empty() || s.pixels == nullptr)
      return Status(Code::kInvalidArgument, where + "it lacks a picture or text");
    int64_t* row = batch.ids_BT.mutable_data_ptr<int64_t>() + i * width;
    const size_t length = std::min(limit, s.ids.size());
    for (size_t t = 0; t < length; ++t) row[t] = t + 1 == length ? s.ids.back() : s.ids[t];
    for (size_t t = 0; t < length; ++t)
      if (row[t] < 0 || row[t] >= text.vocab_size)
        return Status(Code::kInvalidArgument, where + "token id " + std::to_string(row[t]) +
                                                  " is outside the vocabulary of " + std::to_string(text.vocab_size));
    // transformers' rule; see ClipTextConfig. Among the sample's own tokens, so that padding is never pooled.
    const int64_t* place =
        text.eos_token_id == 2 ? std::max_element(row, row + length) : std::find(row, row + length, text.eos_token_id);
    if (place == row + length)
      return Status(Code::kInvalidArgument, where + "its text has no end token " + std::to_string(text.eos_token_id));
    pooled.push_back(place - row);
    images.push_back(s.pixels);
    batch.sample_positions.push_back(s.position);
    batch.tokens += static_cast<int64_t>(length);
  }
  batch.pooled = int64_tensor(pooled);
  batch.pixels_BCHW = copy_pixels(images, config.vision.image_size);
  batch.loss_tokens = static_cast<int64_t>(samples.size());
  return batch;
}

}  // namespace tephra::model
