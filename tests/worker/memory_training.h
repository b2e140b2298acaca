// Training steps whose memory tests hold against its plan: a LLaVA model of made-up pictures and tokens, every place supervised.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "cluster/communicator.h"
#include "model/nn/batch.h"
#include "model/nn/units.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"

namespace tephra::worker {

inline model::ModelConfig small_model() {
  model::ModelConfig c;
  c.vision.hidden_size = 96, c.vision.intermediate_size = 192, c.vision.num_layers = 3, c.vision.num_heads = 3;
  c.vision.image_size = 48, c.vision.patch_size = 12;
  c.text.hidden_size = 128, c.text.intermediate_size = 344, c.text.num_layers = 6;
  c.text.num_heads = c.text.num_kv_heads = 4, c.text.head_dim = 32, c.text.vocab_size = 900;
  c.connector = {"mlp2x_gelu", 96, 128};
  c.image_token_index = 900;
  return c;
}

inline constexpr int64_t kSamples = 4;

// `uneven`: samples of tokens, tokens - 1, ... tokens, which are packed.
inline model::LlavaBatch batch_of(const model::ModelConfig& config, int64_t tokens, uint64_t seed, bool uneven) {
  const std::vector<float> pixels(static_cast<size_t>(3 * config.vision.image_size * config.vision.image_size), 0.5f);
  std::vector<model::TokenizedSample> samples(kSamples);
  for (uint64_t s = 0; s < samples.size(); ++s) {
    const int64_t text = tokens - config.tokens_per_image() - (uneven ? static_cast<int64_t>(s) : 0);
    for (int64_t t = 0; t < text; ++t)
      samples[s].ids.push_back(static_cast<int32_t>(
          random_below(static_cast<uint64_t>(config.text.vocab_size), {seed, s, static_cast<uint64_t>(t)})));
    samples[s].labels = samples[s].ids;
    samples[s].ids.insert(samples[s].ids.begin() + 1, model::kImageToken);
    samples[s].labels.insert(samples[s].labels.begin() + 1, model::kIgnoreLabel);
    samples[s].images = {pixels.data()};
  }
  auto batch = model::make_batch(samples, config, tokens);
  EXPECT_TRUE(batch.ok()) << batch.status().message();
  return std::move(batch).value();
}

struct Case {
  std::set<std::string> train;
  sharding::Policy policy;
  int64_t tokens = 256;  // of a sample
  bool uneven = false;   // batch_of()
};

class Training {
 public:
  // `communicator`: of this rank, outlives this; null: one rank alone.
  explicit Training(const model::ModelConfig& config, const Case& c, cluster::Communicator* communicator = nullptr)
      : config_(config), units_(model::make_units(config_, c.train)), policy_(c.policy), tokens_(c.tokens) {
    at::set_num_threads(1);
    for (int m = 0; m < policy_.micro_batches; ++m)
      batches_.push_back(batch_of(config_, tokens_, static_cast<uint64_t>(m), c.uneven));
    for (const auto& batch : batches_) local_.push_back(&batch);
    auto executor = sharding::Executor::create(units_, model::make_modules(config_),
                                               communicator != nullptr ? communicator : alone_.get(), policy_, {},
                                               std::chrono::seconds(60));
    EXPECT_TRUE(executor.ok()) << executor.status().message();
    executor_ = std::move(executor).value();
    const auto read = [this](const std::string& name, sharding::StateKind, int64_t begin, int64_t count, float* out) {
      for (const auto& unit : units_)
        for (const auto& tensor : unit.tensors)
          if (tensor.name == name) model::init_tensor(name, tensor.shape, 1, begin, count, out);
      return ok_status();
    };
    EXPECT_TRUE(executor_->load(read, false).ok());
    input_.learning_rate.assign(units_.size(), 1e-4);
  }

  // Holds a snapshot meanwhile, as a checkpoint being written does.
  void step() {
    ASSERT_TRUE(executor_->train_step(local_, input_).ok());
    ++input_.optimizer_step;
    snapshot_ = executor_->snapshot();
  }

  sharding::MemoryEstimate planned() const {
    const sharding::MicroBatchSize size{
        .tokens = kSamples * tokens_, .image_tokens = kSamples * config_.tokens_per_image(), .length = tokens_};
    return sharding::estimate(sharding::make_schedule(units_, policy_), units_, policy_, size).memory;
  }
  const sharding::Executor& executor() const { return *executor_; }

 private:
  const model::ModelConfig config_;
  const std::vector<sharding::UnitSpec> units_;
  const sharding::Policy policy_;
  const int64_t tokens_;
  const std::unique_ptr<cluster::Communicator> alone_ = cluster::make_self_communicator();
  std::vector<model::LlavaBatch> batches_;
  std::vector<const sharding::MicroBatch*> local_;
  std::unique_ptr<sharding::Executor> executor_;
  sharding::StepInput input_;
  sharding::Snapshot snapshot_;
};

inline std::string name_of(const Case& c) {
  std::string name;
  for (const std::string& group : c.train) name += group + " ";
  return name + "learn, " + (c.uneven ? "packed, " : "") + to_string(c.policy);
}

}  // namespace tephra::worker
