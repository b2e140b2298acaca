#include <algorithm>
#include <mutex>
#include <span>
#include <unordered_map>

#include "base/env.h"
#include "data/batch.h"
#include "data/conversation_source.h"

namespace tephra::data {

struct Dataset::State {
  DatasetOptions options;
  const Tokenizer* tokenizer = nullptr;
  std::unique_ptr<ConversationSource> source;

  // Pixels by image path, shared by all samples with that picture. Filled until cache_bytes, then left alone: with a
  // shuffled order each sample is seen once an epoch, so throwing out the oldest would throw out what is needed next
  // just as often.
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<const std::vector<float>>> cache;
  uint64_t cached_bytes = 0;

  // Of picture `number` of the sample.
  Result<std::shared_ptr<const std::vector<float>>> pixels(uint64_t index, const Sample& sample, size_t number);
  Result<Image> load(uint64_t index, const Sample& sample, size_t number) const;
};

Result<Image> Dataset::State::load(uint64_t index, const Sample& sample, size_t number) const {
  const std::string& image = sample.images[number];
  if (source->holds_pictures()) {
    TEPHRA_ASSIGN_OR_RETURN(const std::string bytes, source->picture(index, number));
    return decode_image(std::as_bytes(std::span(bytes)), image);
  }
  TEPHRA_ASSIGN_OR_RETURN(const std::string path, resolve_image_path(options.image_root, image));
  return load_image(path);
}

Result<std::shared_ptr<const std::vector<float>>> Dataset::State::pixels(uint64_t index, const Sample& sample,
                                                                         size_t number) {
  // Shards may have files of one name; each is then a picture of its own.
  const std::string image =
      source->holds_pictures() ? std::to_string(index) + "/" + std::to_string(number) : sample.images[number];
  if (options.cache_bytes > 0) {
    std::lock_guard lock(mutex);
    if (auto it = cache.find(image); it != cache.end()) return it->second;
  }
  TEPHRA_ASSIGN_OR_RETURN(const Image decoded, load(index, sample, number));
  auto made = std::make_shared<const std::vector<float>>(preprocess(decoded, options.preprocess));
  const uint64_t bytes = made->size() * sizeof(float);
  if (options.cache_bytes > 0) {
    std::lock_guard lock(mutex);
    if (cached_bytes + bytes <= options.cache_bytes && cache.emplace(image, made).second) cached_bytes += bytes;
  }
  return made;
}

Dataset::Dataset(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dataset::~Dataset() = default;

Result<std::unique_ptr<Dataset>> Dataset::open(const DatasetOptions& options, const Tokenizer* tokenizer) {
  TEPHRA_CHECK(tokenizer != nullptr, "a dataset needs a tokenizer");
  TEPHRA_RETURN_IF_ERROR(require_template(options.template_name).status());
  if (options.max_length < 1) return Status(Code::kInvalidArgument, "the maximal length must be at least 1");
  auto state = std::make_unique<State>();
  state->options = options;
  state->tokenizer = tokenizer;
  TEPHRA_ASSIGN_OR_RETURN(state->source, open_conversations(options.conversations_path));
  if (state->source->size() == 0) return Status(Code::kInvalidArgument, options.conversations_path + " has no samples");
  return std::unique_ptr<Dataset>(new Dataset(std::move(state)));
}

uint64_t Dataset::size() const { return state_->source->size(); }

Result<Sample> Dataset::sample(uint64_t index) const {
  TEPHRA_CHECK(index < size(), "a sample index past the dataset's end");
  return state_->source->sample(index);
}

Result<EncodedSample> Dataset::encode(const Sample& s, uint64_t index) const {
  const DatasetOptions& o = state_->options;
  TEPHRA_ASSIGN_OR_RETURN(Encoded encoded, encode_sample(s, *state_->tokenizer, o.template_name, o.max_length));
  if (static_cast<size_t>(encoded.images) != s.images.size()) {
    return Status(Code::kInvalidArgument, o.conversations_path + ": sample '" + s.id + "' has " +
                                              std::to_string(encoded.images) + " <image> tags and " +
                                              std::to_string(s.images.size()) +
                                              " images; there must be one tag for each image");
  }
  finish_encoding(encoded, state_->tokenizer->unk_id(), o.max_length);
  return EncodedSample{std::move(encoded.ids), std::move(encoded.labels), {}, s.id, index, std::move(encoded.warning)};
}

Result<EncodedSample> Dataset::get_text(uint64_t index) const {
  TEPHRA_ASSIGN_OR_RETURN(const Sample s, sample(index));
  return encode(s, index);
}

Result<EncodedSample> Dataset::get(uint64_t index) const {
  TEPHRA_ASSIGN_OR_RETURN(const Sample s, sample(index));
  TEPHRA_ASSIGN_OR_RETURN(EncodedSample out, encode(s, index));
  const auto shown = static_cast<size_t>(std::count(out.ids.begin(), out.ids.end(), kImageToken));
  for (size_t i = 0; i < shown; ++i) {
    auto pixels = state_->pixels(index, s, i);
    if (!pixels.ok()) return pixels.status().with_context("sample '" + s.id + "'");
    out.pixels.push_back(**pixels);
  }
  return out;
}

}  // namespace tephra::data
