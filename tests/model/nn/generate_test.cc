// Decoding: the cache changes nothing, nor do a row's neighbours; stopping, sampling and scoring do what the header
// says.
#include "model/nn/generate.h"

#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/random.h"
#include "model/nn/llama.h"
#include "sharding/exec/aten.h"
#include "tests/model/nn/chain.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

// With heads of 4 steps go through LibTorch, with heads of 8 through thin_decode.
class GeneratorTest : public ::testing::TestWithParam<int64_t> {
 protected:
  static ModelConfig shape() {
    ModelConfig config = tiny_model();
    config.text.head_dim = GetParam();
    return config;
  }
  GeneratorTest() : weights_(tiny_weights(make_units(config_, {}))) {
    auto made = Generator::create(config_, *weights_);
    TEPHRA_CHECK(made.ok(), made.status().to_string());
    generator_ = std::move(made).value();
    for (uint64_t i = 0; i < 2 * 3 * 64; ++i)
      (i % 2 ? one_ : two_).push_back(static_cast<float>(random_normal({5, i})));
    prompts_ = {{{1, kImageToken, 5, 9}, {one_.data()}, 10},
                {{1, 30, 7, 8, 21, 22, 23, 24, 25, 12, 13, 14}, {}, 11},
                {{1, 4, 4, kImageToken}, {two_.data()}, 12},
                {{1, kImageToken, 6}, {one_.data()}, 13}};
  }

  std::vector<Generation> generate(std::span<const Prompt> prompts, const GenerateOptions& options) {
    auto out = generator_->generate(prompts, options);
    EXPECT_TRUE(out.ok()) << out.status().to_string();
    return out.ok() ? *out : std::vector<Generation>(prompts.size());
  }

  // Greedy decoding by running the whole sequence again for each token.
  std::vector<int32_t> without_cache(const Prompt& prompt, int count) {
    TokenizedSample s{prompt.ids, {}, prompt.images, 0};
    std::vector<int32_t> out;
    for (int i = 0; i < count; ++i) {
      s.labels.assign(s.ids.size(), kIgnoreLabel);
      auto trace = generator_->trace(s);
      TEPHRA_CHECK(trace.ok(), trace.status().to_string());
      out.push_back(static_cast<int32_t>(trace->logits[-1].argmax().item<int64_t>()));
      s.ids.push_back(out.back());
    }
    return out;
  }

  ModelConfig config_ = shape();
  std::unique_ptr<TensorSource> weights_;
  std::unique_ptr<Generator> generator_;
  std::vector<float> one_, two_;
  std::vector<Prompt> prompts_;
};

TEST_P(GeneratorTest, TheCacheAndTheNeighboursChangeNothing) {
  GenerateOptions options{.max_new_tokens = 12, .stop_ids = {}};
  auto together = generate(prompts_, options);
  for (size_t i = 0; i < prompts_.size(); ++i) {
    EXPECT_EQ(together[i].ids.size(), 12u);
    EXPECT_EQ(together[i].ids, generate({&prompts_[i], 1}, options)[0].ids) << i;
    EXPECT_EQ(together[i].ids, without_cache(prompts_[i], 12)) << i;
    EXPECT_FALSE(together[i].stopped);
  }
}

// The sequence put together by hand: each picture encoded by itself, its tokens where its place is.
TEST_P(GeneratorTest, SeveralImagesStandInTheirOrder) {
  const auto trace = [&](const std::vector<int32_t>& ids, std::vector<const float*> images) {
    auto out = generator_->trace({ids, std::vector<int32_t>(ids.size(), kIgnoreLabel), std::move(images), 0});
    TEPHRA_CHECK(out.ok(), out.status().to_string());
    return *out;
  };
  const std::vector<int32_t> ids = {kImageToken, 1, 5, kImageToken, 9, kImageToken};
  const auto both = trace(ids, {two_.data(), one_.data(), two_.data()});
  const at::Tensor one = trace({1, kImageToken}, {one_.data()}).projected.squeeze(0),
                   two = trace({1, kImageToken}, {two_.data()}).projected.squeeze(0);
  ASSERT_EQ(both.projected.size(0), 3);

  c10::InferenceMode inference;
  const auto tensors = [&](const std::string& unit_name) {
    for (const auto& unit : make_units(config_, {}))
      if (unit.name == unit_name) {
        std::vector<at::Tensor> out;
        for (const auto& spec : unit.tensors) {
          out.push_back(at::empty(spec.shape, at::kFloat));
          TEPHRA_CHECK(
              weights_->read_float32(spec.name, 0, out.back().numel(), out.back().mutable_data_ptr<float>()).ok(),
              spec.name);
        }
        return out;
      }
    TEPHRA_CHECK(false, unit_name);
    return std::vector<at::Tensor>{};
  };
  const at::Tensor table = tensors("llm.embed")[0];
  at::Tensor h =
      at::cat({two, table.narrow(0, 1, 1), table.narrow(0, 5, 1), one, table.narrow(0, 9, 1), two}).unsqueeze(0);
  const Rotary rotary = rotary_tables(at::arange(h.size(1), at::kLong), config_.text);
  for (int64_t i = 0; i < config_.text.num_layers; ++i)
    h = llama_block(tensors("llm.block." + std::to_string(i)), h, rotary, config_.text);
  const at::Tensor logits = llama_logits(tensors("llm.head"), h.squeeze(0), config_.text);
  ASSERT_EQ(logits.sizes(), both.logits.sizes());
  EXPECT_LE(logits.sub(both.logits).abs().max().item<float>(), 1e-5f);

  // Decoded with a cache, beside rows with other pictures.
  const std::vector<Prompt> prompts = {{ids, {two_.data(), one_.data(), two_.data()}, 1},
                                       prompts_[0],
                                       {ids, {one_.data(), two_.data(), one_.data()}, 2}};
  const GenerateOptions options{.max_new_tokens = 8, .stop_ids = {}};
  const auto replies = generate(prompts, options);
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(replies[i].ids, without_cache(prompts[i], 8)) << i;
  EXPECT_NE(replies[0].ids, replies[2].ids);
}

TEST_P(GeneratorTest, RowsStopOnTheirOwn) {
  GenerateOptions options{.max_new_tokens = 12, .stop_ids = {}};
  auto free = generate(prompts_, options);
  options.stop_ids = {free[1].ids[3]};
  auto stopped = generate(prompts_, options);
  for (size_t i = 0; i < prompts_.size(); ++i) {
    auto stop = std::find(free[i].ids.begin(), free[i].ids.end(), options.stop_ids[0]);
    std::vector<int32_t> expected(free[i].ids.begin(), stop == free[i].ids.end() ? stop : stop + 1);
    EXPECT_EQ(stopped[i].ids, expected) << i;
    EXPECT_EQ(stopped[i].stopped, stop != free[i].ids.end());
  }
  options.stop_ids = {};
  options.on_token = [](size_t row, int32_t) { return row != 2; };
  auto called = generate(prompts_, options);
  EXPECT_EQ(called[2].ids.size(), 1u);
  EXPECT_EQ(called[0].ids, free[0].ids);
}

TEST_P(GeneratorTest, SamplingIsAFunctionOfSeedAndKey) {
  GenerateOptions options{
      .max_new_tokens = 10, .stop_ids = {}, .sampling = {.temperature = 1.5, .top_p = 0.9, .seed = 3}};
  auto together = generate(prompts_, options);
  for (size_t i = 0; i < prompts_.size(); ++i)
    EXPECT_EQ(generate({&prompts_[i], 1}, options)[0].ids, together[i].ids) << i;
  options.sampling.seed = 4;
  EXPECT_NE(generate(prompts_, options)[0].ids, together[0].ids);
  options.sampling.top_p = 1e-9;  // only the most probable id is left
  GenerateOptions greedy{.max_new_tokens = 10, .stop_ids = {}};
  EXPECT_EQ(generate(prompts_, options)[0].ids, generate(prompts_, greedy)[0].ids);
}

TEST_P(GeneratorTest, StopsAtTheContextLengthAndRefusesALongerPrompt) {
  Prompt prompt{std::vector<int32_t>(60, 5), {}, 0};
  auto out = generate({&prompt, 1}, {.max_new_tokens = 100, .stop_ids = {}});
  EXPECT_EQ(out[0].ids.size(), 5u);  // the last one needs no place of its own
  prompt.ids.assign(64, 5);
  EXPECT_THAT(generator_->generate({&prompt, 1}, {}).status().message(),
              ::testing::HasSubstr("fills the model's context of 64"));
}

TEST_P(GeneratorTest, ScoresEqualTheTrainingLoss) {
  std::vector<TokenizedSample> samples;
  for (const Prompt& p : prompts_) {
    samples.push_back({p.ids, p.ids, p.images, 0});
    for (int32_t& label : samples.back().labels) label = label == kImageToken ? kIgnoreLabel : label;
  }
  samples[2].labels.assign(samples[2].ids.size(), kIgnoreLabel);
  auto scores = generator_->score(samples, 64);
  ASSERT_TRUE(scores.ok()) << scores.status().to_string();
  Chain chain(make_units(config_, {}), make_modules(config_), *weights_);
  for (size_t i = 0; i < samples.size(); ++i) {
    auto batch = make_batch({&samples[i], 1}, config_, 64);
    EXPECT_EQ((*scores)[i].tokens, batch->loss_tokens);
    EXPECT_NEAR((*scores)[i].loss,
                batch->loss_tokens ? chain.loss(*batch).item<double>() / static_cast<double>(batch->loss_tokens) : 0,
                1e-5);
  }
  EXPECT_EQ((*scores)[2].tokens, 0);
}

TEST_P(GeneratorTest, RunsInBfloat16AndAsALanguageModelAlone) {
  auto half = Generator::create(config_, *weights_, DType::kBFloat16);
  ASSERT_TRUE(half.ok()) << half.status().to_string();
  auto out = (*half)->generate(prompts_, {.max_new_tokens = 6, .stop_ids = {}});
  ASSERT_TRUE(out.ok()) << out.status().to_string();
  EXPECT_EQ((*out)[3].ids.size(), 6u);
  auto lm = Generator::create_lm(config_.text, *weights_);
  ASSERT_TRUE(lm.ok()) << lm.status().to_string();
  GenerateOptions options{.max_new_tokens = 6, .stop_ids = {}};
  auto text = (*lm)->generate({&prompts_[1], 1}, options);
  ASSERT_TRUE(text.ok()) << text.status().to_string();
  EXPECT_EQ((*text)[0].ids, generate({&prompts_[1], 1}, options)[0].ids);
  EXPECT_FALSE((*lm)->generate({&prompts_[0], 1}, options).ok());
}

TEST_P(GeneratorTest, NamesATensorThatIsNotFinite) {
  class Broken : public TensorSource {
   public:
    explicit Broken(const TensorSource& base) : base_(base) {}
    const std::vector<TensorInfo>& tensors() const override { return base_.tensors(); }
    Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
      Status status = base_.read_float32(name, begin, count, out);
      if (name.ends_with("layers.1.mlp.up_proj.weight")) out[count / 2] = std::numeric_limits<float>::quiet_NaN();
      return status;
    }
    Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
      return base_.read_bytes(name, begin, count, out);
    }

   private:
    const TensorSource& base_;
  };
  const auto made = Generator::create(config_, Broken(*weights_));
  EXPECT_EQ(made.status().code(), Code::kCorruption);
  EXPECT_THAT(
      made.status().message(),
      ::testing::HasSubstr("language_model.model.layers.1.mlp.up_proj.weight holds values that are not finite"));
}

TEST_P(GeneratorTest, NamesAMissingTensor) {
  ModelConfig deep = config_;
  deep.text.num_layers = 3;
  auto made = Generator::create(deep, *weights_);
  EXPECT_THAT(made.status().message(),
              ::testing::HasSubstr("language_model.model.layers.2.input_layernorm.weight: the tensor is missing"));
}

INSTANTIATE_TEST_SUITE_P(HeadSizes, GeneratorTest, ::testing::Values(4, 8));

}  // namespace
}  // namespace tephra::model
