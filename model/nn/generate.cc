#include "model/nn/generate.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <exception>
#include <map>
#include <set>

#include "model/nn/connector.h"
#include "model/nn/llama.h"
#include "model/nn/thin_decode.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

Result<at::ScalarType> scalar_type(DType dtype) {
  if (dtype == DType::kFloat32) return at::kFloat;
  if (dtype == DType::kBFloat16) return at::kBFloat16;
  if (dtype == DType::kFloat16) return at::kHalf;
  return Status(Code::kInvalidArgument,
                "a model does not run in " + std::string(dtype_name(dtype)) + "; use F32, BF16 or F16");
}

// Runs f, turning LibTorch's exceptions (out of memory among them) into a Status.
template <typename F>
auto guarded(const char* what, F f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::exception& e) {
    std::string words = e.what();
    return Status(Code::kInternal, std::string(what) + ": " + words.substr(0, words.find('\n')));
  }
}

struct Weights {
  std::vector<UnitTensors> vision;  // embed, then the blocks
  UnitTensors connector;
  LlamaWeights llm;
};

Result<UnitTensors> load_unit(const sharding::UnitSpec& unit, const TensorSource& source, at::ScalarType type) {
  UnitTensors out;
  for (const auto& spec : unit.tensors) {
    at::Tensor values = at::empty(spec.shape, at::kFloat);
    TEPHRA_RETURN_IF_ERROR(source.read_float32(spec.name, 0, values.numel(), values.mutable_data_ptr<float>()));
    if (!values.isfinite().all().item<bool>())
      return Status(Code::kCorruption, "tensor " + spec.name + " holds values that are not finite (NaN or infinity)");
    out.push_back(values.to(type));
  }
  return out;
}

Result<Weights> load_weights(const std::vector<sharding::UnitSpec>& units, bool tied_head, const TensorSource& source,
                             at::ScalarType type) {
  auto problems = check_against_units(source, units, "model");
  std::set<std::string> wanted;
  for (const auto& unit : units)
    for (const auto& spec : unit.tensors) wanted.insert(spec.name);
  std::erase_if(problems,
                [&](const Diagnostic& d) { return !wanted.contains(d.field); });  // a tensor too many does no harm here
  if (!problems.empty()) return Status(Code::kInvalidArgument, to_string(problems));
  Weights weights;
  for (const auto& unit : units) {
    TEPHRA_ASSIGN_OR_RETURN(UnitTensors tensors, load_unit(unit, source, type));
    if (unit.group == "vision")
      weights.vision.push_back(std::move(tensors));
    else if (unit.group == "connector")
      weights.connector = std::move(tensors);
    else if (unit.name == "llm.embed")
      weights.llm.embed = std::move(tensors);
    else if (unit.name == "llm.head")
      weights.llm.head = std::move(tensors);
    else
      weights.llm.blocks.push_back(std::move(tensors));
  }
  if (tied_head) weights.llm.head.push_back(weights.llm.embed[0]);
  return weights;
}

class FullModel : public Generator {
 public:
  FullModel(ModelConfig config, bool has_vision, Weights weights)
      : config_(std::move(config)), has_vision_(has_vision), weights_(std::move(weights)) {}

  const ModelConfig& config() const override { return config_; }
  Result<std::vector<Generation>> generate(std::span<const Prompt> prompts, const GenerateOptions& options) override;
  Result<std::vector<SampleScore>> score(std::span<const TokenizedSample> samples, int64_t max_length) override;
  Result<Trace> trace(const TokenizedSample& sample) override;

 private:
  Result<LlavaBatch> batch_of(std::span<const TokenizedSample> samples, int64_t max_length) const {
    return has_vision_ ? make_batch(samples, config_, max_length, Padding::kRight)
                       : make_lm_batch(samples, config_.text, max_length, Padding::kRight);
  }
  at::Tensor vision_features(const at::Tensor& pixels_ICHW) const;  // [I, P, Dv]
  at::Tensor embed(const LlavaBatch& batch, Trace* trace = nullptr) const;
  at::Tensor embed(const LlavaBatch& batch, const at::Tensor& image_tokens) const;
  at::Tensor run_blocks(at::Tensor h_BTD) const;
  Rotary rotary(const at::Tensor& positions) const { return rotary_tables(positions, config_.text); }

  at::Tensor image_tokens_once(std::span<const TokenizedSample> samples, LlavaBatch& batch) const;
  Status decode(std::span<const Prompt> prompts, const LlavaBatch& batch, const at::Tensor& h_BTD,
                const GenerateOptions& options, std::vector<Generation>& out) const;
  at::Tensor prefill(const LlavaBatch& batch, at::Tensor h_BTD, const Rotary& tables,
                     std::vector<LayerCache>& caches) const;
  at::Tensor decode_step(const std::vector<int64_t>& ids, const std::vector<int64_t>& positions, const Rotary& tables,
                         std::vector<LayerCache>& caches) const;

  ModelConfig config_;
  bool has_vision_;
  Weights weights_;
};

at::Tensor FullModel::vision_features(const at::Tensor& pixels_ICHW) const {
  const ClipVisionConfig& c = config_.vision;
  at::Tensor h = clip_vision_embed(weights_.vision[0], pixels_ICHW.to(weights_.vision[0][0].options()), c);
  for (size_t i = 1; i < weights_.vision.size(); ++i)
    h = clip_block(weights_.vision[i], h, {c.num_heads, c.layer_norm_eps, c.hidden_act == "quick_gelu", false});
  return config_.drop_class_token ? h.narrow(1, 1, h.size(1) - 1) : h;
}

at::Tensor FullModel::embed(const LlavaBatch& batch, const at::Tensor& image_tokens) const {
  at::Tensor h = at::embedding(weights_.llm.embed[0], batch.ids_BT);
  if (!image_tokens.defined()) return h;
  const int64_t width = h.size(-1);
  at::Tensor rows = image_tokens.reshape({-1, width}).index_select(0, batch.image_sources);
  return h.view({-1, width}).index_copy(0, batch.image_rows, rows).view(h.sizes());
}

at::Tensor FullModel::embed(const LlavaBatch& batch, Trace* trace) const {
  if (!batch.pixels_ICHW.defined()) return embed(batch, at::Tensor());
  at::Tensor features = vision_features(batch.pixels_ICHW);
  at::Tensor tokens = connect(weights_.connector, features, config_.connector);
  if (trace != nullptr) {
    trace->vision = features.to(at::kFloat);
    trace->projected = tokens.to(at::kFloat);
  }
  return embed(batch, tokens);
}

at::Tensor FullModel::run_blocks(at::Tensor h_BTD) const {
  Rotary tables = rotary(at::arange(h_BTD.size(1), at::kLong));
  for (const UnitTensors& p : weights_.llm.blocks) h_BTD = llama_block(p, h_BTD, tables, config_.text);
  return h_BTD;
}

Result<std::vector<SampleScore>> FullModel::score(std::span<const TokenizedSample> samples, int64_t max_length) {
  return guarded("scoring", [&]() -> Result<std::vector<SampleScore>> {
    c10::InferenceMode inference;
    TEPHRA_ASSIGN_OR_RETURN(LlavaBatch batch, batch_of(samples, max_length));
    at::Tensor losses =
        llama_losses(weights_.llm.head, run_blocks(embed(batch)), batch.target_rows, batch.targets, config_.text);
    std::vector<SampleScore> out(samples.size());
    const float* loss = losses.const_data_ptr<float>();
    const int64_t* sample = batch.target_sample.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < losses.size(0); ++i) {
      out[static_cast<size_t>(sample[i])].loss += loss[i];
      ++out[static_cast<size_t>(sample[i])].tokens;
    }
    for (SampleScore& s : out)
      if (s.tokens > 0) s.loss /= static_cast<double>(s.tokens);
    return out;
  });
}

Result<Generator::Trace> FullModel::trace(const TokenizedSample& sample) {
  return guarded("tracing", [&]() -> Result<Trace> {
    c10::InferenceMode inference;
    TEPHRA_ASSIGN_OR_RETURN(LlavaBatch batch, batch_of({&sample, 1}, config_.text.max_position_embeddings));
    Trace out;
    at::Tensor h = run_blocks(embed(batch, &out));
    out.logits = llama_logits(weights_.llm.head, h.squeeze(0), config_.text).to(at::kFloat);
    return out;
  });
}

// The images of a call, each encoded once however many prompts share it; batch.image_sources is rewritten to match.
at::Tensor FullModel::image_tokens_once(std::span<const TokenizedSample> samples, LlavaBatch& batch) const {
  if (!batch.pixels_ICHW.defined()) return {};
  std::map<const float*, int64_t> places;
  std::vector<int64_t> place_of, first;
  for (const TokenizedSample& s : samples) {
    // make_batch put the pixels of each kImageToken in this order; a sample without one may hold an image that it left
    // out.
    if (std::find(s.ids.begin(), s.ids.end(), kImageToken) == s.ids.end()) continue;
    for (const float* image : s.images) {
      auto [it, added] = places.try_emplace(image, static_cast<int64_t>(places.size()));
      if (added) first.push_back(static_cast<int64_t>(place_of.size()));
      place_of.push_back(it->second);
    }
  }
  const int64_t each = config_.tokens_per_image();
  int64_t* source = batch.image_sources.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch.image_sources.size(0); ++i)
    source[i] = place_of[static_cast<size_t>(source[i] / each)] * each + source[i] % each;
  at::Tensor index = at::empty({static_cast<int64_t>(first.size())}, at::kLong);
  std::copy(first.begin(), first.end(), index.mutable_data_ptr<int64_t>());
  return connect(weights_.connector, vision_features(batch.pixels_ICHW.index_select(0, index)), config_.connector);
}

// Fills the caches with the prompts and returns the logits after each row's last token: [B, V] float32.
at::Tensor FullModel::prefill(const LlavaBatch& batch, at::Tensor h_BTD, const Rotary& tables,
                              std::vector<LayerCache>& caches) const {
  const int64_t rows = h_BTD.size(0), length = h_BTD.size(1);
  const Rotary first = {tables.cos.narrow(0, 0, length), tables.sin.narrow(0, 0, length)};
  for (size_t i = 0; i < caches.size(); ++i)
    h_BTD = llama_block_prefill(weights_.llm.blocks[i], h_BTD, first, config_.text, caches[i]);
  at::Tensor last = at::empty({rows}, at::kLong);
  for (int64_t r = 0; r < rows; ++r)
    last.mutable_data_ptr<int64_t>()[r] = r * length + batch.lengths[static_cast<size_t>(r)] - 1;
  at::Tensor x = h_BTD.reshape({rows * length, -1}).index_select(0, last);
  return llama_logits(weights_.llm.head, x, config_.text).to(at::kFloat).contiguous();
}

// One token a row, at the row's own position, which is also its place in the cache: what right padding left there is
// overwritten before it becomes visible.
at::Tensor FullModel::decode_step(const std::vector<int64_t>& ids, const std::vector<int64_t>& positions,
                                  const Rotary& tables, std::vector<LayerCache>& caches) const {
  const int64_t rows = static_cast<int64_t>(ids.size()), groups = config_.text.num_kv_heads;
  if (fits_thin_decode(weights_.llm, config_.text, rows))
    return thin_decode(weights_.llm, config_.text, tables, ids, positions, caches);
  const int64_t capacity = tables.cos.size(0);
  at::Tensor id = at::empty({rows, 1}, at::kLong), position = at::empty({rows, 1, 1}, at::kLong),
             slots = at::empty({rows * groups}, at::kLong);
  std::copy(ids.begin(), ids.end(), id.mutable_data_ptr<int64_t>());
  std::copy(positions.begin(), positions.end(), position.mutable_data_ptr<int64_t>());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < groups; ++g)
      slots.mutable_data_ptr<int64_t>()[r * groups + g] =
          (r * groups + g) * capacity + positions[static_cast<size_t>(r)];
  const int64_t used = *std::max_element(positions.begin(), positions.end()) + 1;
  at::Tensor visible = at::arange(used, at::kLong).view({1, 1, 1, used}).le(position.unsqueeze(-1));
  const auto own = [&](const at::Tensor& table) {
    return table.index_select(0, position.flatten()).view({rows, 1, 1, -1});
  };
  const Rotary rotary = {own(tables.cos), own(tables.sin)};
  at::Tensor h = at::embedding(weights_.llm.embed[0], id);
  for (size_t i = 0; i < caches.size(); ++i)
    h = llama_block_decode(weights_.llm.blocks[i], h, rotary, config_.text, caches[i], slots, visible, used);
  return llama_logits(weights_.llm.head, h.squeeze(1), config_.text).to(at::kFloat).contiguous();
}

Status FullModel::decode(std::span<const Prompt> prompts, const LlavaBatch& batch, const at::Tensor& h_BTD,
                         const GenerateOptions& options, std::vector<Generation>& out) const {
  const int64_t rows = h_BTD.size(0), limit = config_.text.max_position_embeddings, vocab = config_.text.vocab_size;
  const int64_t capacity = std::min(limit, h_BTD.size(1) + options.max_new_tokens);
  std::vector<LayerCache> caches;
  for (size_t i = 0; i < weights_.llm.blocks.size(); ++i) {
    const std::vector<int64_t> shape = {rows, config_.text.num_kv_heads, capacity, config_.text.head_dim};
    // Zeros: masked places are multiplied by a weight of zero, and whatever the allocator left there might be NaN.
    caches.push_back({at::zeros(shape, h_BTD.options()), at::zeros(shape, h_BTD.options())});
  }
  const Rotary tables = rotary(at::arange(capacity, at::kLong));
  at::Tensor logits = prefill(batch, h_BTD, tables, caches);
  std::vector<int64_t> ids(static_cast<size_t>(rows), 0), positions = batch.lengths;  // of each row's next token
  std::vector<bool> done(static_cast<size_t>(rows), false);
  std::vector<std::vector<int32_t>> seen;
  for (const Prompt& prompt : prompts) seen.push_back(prompt.ids);
  for (int64_t step = 0; step < options.max_new_tokens; ++step) {
    bool all_done = true;
    for (size_t r = 0; r < prompts.size(); ++r) {
      if (done[r]) continue;
      const std::span<float> row(logits.mutable_data_ptr<float>() + static_cast<int64_t>(r) * vocab,
                                 static_cast<size_t>(vocab));
      const int32_t id = next_token(row, seen[r], options.sampling, prompts[r].key, static_cast<uint64_t>(step));
      out[r].ids.push_back(id);
      seen[r].push_back(id);
      const bool stop = std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end();
      const bool ended = options.on_token && !options.on_token(r, id);
      out[r].stopped = stop || ended;
      ids[r] = id;
      done[r] = out[r].stopped || positions[r] >= capacity;
      all_done = all_done && done[r];
    }
    if (all_done || step + 1 == options.max_new_tokens) break;
    // Finished rows keep their last place and run along; their logits are not looked at.
    for (size_t r = 0; r < prompts.size(); ++r) positions[r] = std::min(positions[r], capacity - 1);
    logits = decode_step(ids, positions, tables, caches);
    for (size_t r = 0; r < prompts.size(); ++r)
      if (!done[r]) ++positions[r];
  }
  return ok_status();
}

Result<std::vector<Generation>> FullModel::generate(std::span<const Prompt> prompts, const GenerateOptions& options) {
  return guarded("generating", [&]() -> Result<std::vector<Generation>> {
    c10::InferenceMode inference;
    TEPHRA_RETURN_IF_ERROR(check_sampling(options.sampling));
    std::vector<Generation> out(prompts.size());
    if (prompts.empty() || options.max_new_tokens <= 0) return out;
    const int64_t limit = config_.text.max_position_embeddings;
    std::vector<TokenizedSample> samples;
    for (const Prompt& prompt : prompts)
      samples.push_back({prompt.ids, std::vector<int32_t>(prompt.ids.size(), kIgnoreLabel), prompt.images, prompt.key});
    TEPHRA_ASSIGN_OR_RETURN(LlavaBatch batch, batch_of(samples, limit));
    for (size_t r = 0; r < batch.lengths.size(); ++r)
      if (batch.lengths[r] >= limit)
        return Status(Code::kInvalidArgument, "prompt " + std::to_string(r) + " fills the model's context of " +
                                                  std::to_string(limit) + " tokens; shorten it");
    at::Tensor h = embed(batch, image_tokens_once(samples, batch));
    TEPHRA_RETURN_IF_ERROR(decode(prompts, batch, h, options, out));
    return out;
  });
}

Result<std::unique_ptr<Generator>> create_model(const ModelConfig& config, bool has_vision, const TensorSource& source,
                                                DType dtype) {
  TEPHRA_ASSIGN_OR_RETURN(at::ScalarType type, scalar_type(dtype));
  return guarded("loading the model", [&]() -> Result<std::unique_ptr<Generator>> {
    c10::InferenceMode inference;
    auto units = has_vision ? make_units(config, {}) : make_lm_units(config.text, {});
    TEPHRA_ASSIGN_OR_RETURN(Weights weights, load_weights(units, config.text.tied_head, source, type));
    return std::unique_ptr<Generator>(std::make_unique<FullModel>(config, has_vision, std::move(weights)));
  });
}

}  // namespace

Result<std::unique_ptr<Generator>> Generator::create(const ModelConfig& config, const TensorSource& source,
                                                     DType dtype) {
  return create_model(config, true, source, dtype);
}

Result<std::unique_ptr<Generator>> Generator::create_lm(const LlamaConfig& config, const TensorSource& source,
                                                        DType dtype) {
  ModelConfig whole;
  whole.text = config;
  return create_model(whole, false, source, dtype);
}

}  // namespace tephra::model
