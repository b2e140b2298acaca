// Inference over a whole model on one device: greedy or sampled decoding with a key-value cache, and losses per sample.
// Threading: one thread at a time. LibTorch's exceptions become kInternal here.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "base/tensor_source.h"
#include "model/nn/batch.h"
#include "model/nn/sampling.h"
#include "model/spec/model_config.h"

namespace tephra::model {

struct Prompt {
  std::vector<int32_t> ids;  // kImageToken where an image stands
  std::vector<const float*>
      images;        // one per kImageToken, as in TokenizedSample; equal pointers are encoded once per call
  uint64_t key = 0;  // of its random draws, so that a sample's reply does not depend on its neighbours
};

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  std::vector<int32_t> stop_ids = {2};
  Sampling sampling{};
  // Called after each new token of a row; returning false ends that row. May be empty.
  std::function<bool(size_t row, int32_t id)> on_token{};
};

struct Generation {
  std::vector<int32_t> ids;  // new ids only, the stop id included
  bool stopped = false;      // by a stop id or on_token; false: max_new_tokens or the context length was reached
};

struct SampleScore {
  double loss = 0;     // mean over the supervised tokens; 0 when there are none
  int64_t tokens = 0;  // supervised
};

class Generator {
 public:
  // Reads every parameter as `dtype` (F32, BF16 or F16). kInvalidArgument names tensors that `source` lacks or has in
  // another shape.
  static Result<std::unique_ptr<Generator>> create(const ModelConfig& config, const TensorSource& source,
                                                   DType dtype = DType::kFloat32);
  // A language model alone: prompts without images.
  static Result<std::unique_ptr<Generator>> create_lm(const LlamaConfig& config, const TensorSource& source,
                                                      DType dtype = DType::kFloat32);
  virtual ~Generator() = default;

  virtual const ModelConfig& config() const = 0;

  // One Generation per prompt, decoded together; a row's ids do not depend on the others (up to rounding in the last
  // bits). The cache of [B, kv heads, longest prompt + max_new_tokens] is allocated once a call. kInvalidArgument as
  // make_batch and check_sampling, and for a prompt that leaves no room in max_position_embeddings.
  virtual Result<std::vector<Generation>> generate(std::span<const Prompt> prompts, const GenerateOptions& options) = 0;

  // Loss of each sample over its supervised tokens, cut to max_length merged tokens.
  virtual Result<std::vector<SampleScore>> score(std::span<const TokenizedSample> samples, int64_t max_length) = 0;

  // Logits [T, V] float32 of one sample's merged sequence, and the features on the way (undefined without an image):
  // vision [I, P, Dv] after the select layer, projected [I, P, D]. For parity checks.
  struct Trace {
    at::Tensor vision, projected, logits;
  };
  virtual Result<Trace> trace(const TokenizedSample& sample) = 0;
};

}  // namespace tephra::model
