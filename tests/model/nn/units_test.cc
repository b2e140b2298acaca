// Modules against what they must satisfy without a reference: gradients agree with differences of the loss, a sample's
// loss does not depend on its neighbours or on padding, and batches without images or supervision work.
#include "model/nn/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "model/nn/batch.h"
#include "model/nn/clip.h"
#include "model/nn/llama.h"
#include "tests/model/nn/chain.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

using ::testing::HasSubstr;

std::vector<float> picture(uint64_t seed, int64_t size = 8) {
  std::vector<float> out;
  for (int64_t i = 0; i < 3 * size * size; ++i)
    out.push_back(static_cast<float>(random_normal({seed, static_cast<uint64_t>(i)})));
  return out;
}

TokenizedSample sample(std::vector<int32_t> ids, std::vector<const float*> images = {}, size_t unsupervised = 2) {
  TokenizedSample s{ids, ids, std::move(images), 0};
  for (size_t i = 0; i < s.labels.size(); ++i)
    if (i < unsupervised || ids[i] == kImageToken) s.labels[i] = kIgnoreLabel;
  return s;
}

Chain chain(const ModelConfig& config, const std::set<std::string>& trainable) {
  auto units = make_units(config, trainable);
  auto weights = tiny_weights(units);
  return Chain(std::move(units), make_modules(config), *weights);
}

// Compares one element's gradient with the central difference of the loss.
void check_gradient(Chain& chain, const sharding::MicroBatch& batch, const std::string& name, int64_t element) {
  at::Tensor& p = chain.at(name);
  ASSERT_TRUE(p.grad().defined()) << name;
  const double gradient = p.grad().view(-1)[element].item<double>();
  float* value = p.mutable_data_ptr<float>() + element;
  const float before = *value, h = 1e-2f;
  at::NoGradGuard no_grad;
  *value = before + h;
  const double up = chain.loss(batch).item<double>();
  *value = before - h;
  const double down = chain.loss(batch).item<double>();
  *value = before;
  EXPECT_NEAR((up - down) / (2.0 * h), gradient, 2e-2 + 2e-2 * std::abs(gradient)) << name << "[" << element << "]";
}

// Angles of transformers 5.23's LlamaRotaryEmbedding.
TEST(Rotary, ScalesFrequenciesAsTransformersDoes) {
  LlamaConfig config = tiny_llama();
  config.head_dim = 16;
  const auto expect = [&](int64_t position, std::initializer_list<double> cosines,
                          std::initializer_list<double> sines) {
    const Rotary tables = rotary_tables(at::full({1}, position, at::kLong), config);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(tables.cos[0][static_cast<int64_t>(i)].item<double>(), cosines.begin()[i], 5e-4) << i;
      EXPECT_NEAR(tables.sin[0][static_cast<int64_t>(i)].item<double>(), sines.begin()[i], 5e-4) << i;
    }
  };
  config.rope_theta = 500000.0;
  config.rope_scaling = {"llama3", 8, 1, 4, 8192};
  expect(5000, {0.154668, -0.419084, 0.893639, 0.328779, -0.869127, 0.985346, 0.999448, 0.999979},
         {-0.987966, 0.907948, -0.448787, -0.944407, 0.49459, 0.170567, 0.033233, 0.006446});
  config.rope_theta = 10000.0;
  config.rope_scaling = {.kind = "linear", .factor = 4};
  expect(500, {0.787714, -0.25569, 0.997798, -0.688589, 0.315322, 0.922887, 0.992198, 0.999219},
         {-0.61604, 0.966759, -0.066322, -0.725152, 0.948985, 0.385071, 0.124675, 0.039518});
}

class Gradients : public ::testing::TestWithParam<const char*> {};

TEST_P(Gradients, AgreeWithDifferencesOfTheLoss) {
  std::vector<float> one = picture(1), two = picture(2);
  ModelConfig config = tiny_model(GetParam());
  Chain c = chain(config, {"vision", "connector", "llm"});
  std::vector<TokenizedSample> samples = {sample({1, kImageToken, 5, 9, 11, 2}, {one.data()}), sample({1, 30, 7, 8}),
                                          sample({1, 4, kImageToken, 21, 3}, {two.data()})};
  auto batch = make_batch(samples, config, 64);
  ASSERT_TRUE(batch.ok()) << batch.status().to_string();
  EXPECT_EQ(batch->loss_tokens, 4 + 2 + 2);
  EXPECT_EQ(batch->tokens, 9 + 4 + 8);
  c.loss(*batch).backward();
  const std::string block = "language_model.model.layers.0.", vision = "vision_tower.vision_model.";
  for (const std::string& name :
       {block + "self_attn.q_proj.weight", block + "self_attn.k_proj.weight", block + "self_attn.v_proj.weight",
        block + "self_attn.o_proj.weight", block + "mlp.gate_proj.weight", block + "mlp.down_proj.weight",
        block + "input_layernorm.weight", std::string("language_model.lm_head.weight"),
        std::string("language_model.model.norm.weight"), std::string("multi_modal_projector.linear_1.weight"),
        std::string("multi_modal_projector.linear_1.bias"), vision + "embeddings.class_embedding",
        vision + "embeddings.patch_embedding.weight", vision + "embeddings.position_embedding.weight",
        vision + "encoder.layers.1.mlp.fc1.weight", vision + "encoder.layers.0.self_attn.k_proj.weight"})
    for (int64_t element : {0, 3}) check_gradient(c, *batch, name, element);
  check_gradient(c, *batch, "language_model.model.embed_tokens.weight", 16 * 9 + 2);
  // Token 0 stands at image and padded places, and its embedding must not learn from them.
  EXPECT_EQ(c.at("language_model.model.embed_tokens.weight").grad()[0].abs().sum().item<float>(), 0.0f);
}

INSTANTIATE_TEST_SUITE_P(All, Gradients, ::testing::Values("linear", "mlp2x_gelu"));

TEST(LlavaModules, ABatchWithoutImagesLeavesTheConnectorWithoutGradient) {
  ModelConfig config = tiny_model();
  Chain c = chain(config, {"connector", "llm"});
  auto batch = make_batch(std::vector<TokenizedSample>{sample({1, 30, 7, 8})}, config, 64);
  ASSERT_TRUE(batch.ok());
  EXPECT_FALSE(batch->pixels_ICHW.defined());
  c.loss(*batch).backward();
  EXPECT_FALSE(c.at("multi_modal_projector.linear_1.weight").grad().defined());
  EXPECT_TRUE(c.at("language_model.lm_head.weight").grad().defined());
}

TEST(LlavaModules, ABatchWithoutSupervisionHasLossZero) {
  ModelConfig config = tiny_model();
  Chain c = chain(config, {"connector"});
  std::vector<float> pixels = picture(1);
  auto batch = make_batch(std::vector<TokenizedSample>{sample({1, kImageToken, 7, 8}, {pixels.data()}, 9)}, config, 64);
  ASSERT_TRUE(batch.ok());
  EXPECT_EQ(batch->loss_tokens, 0);
  EXPECT_EQ(c.loss(*batch).item<float>(), 0.0f);
}

// Samples of several lengths together, packed and padded, against each by itself: the sum of the losses, and its gradient.
TEST(LlavaModules, LossAndGradientsAreSumsOverSamplesHoweverTheyLie) {
  ModelConfig config = tiny_model();
  std::vector<float> one = picture(1);
  const std::vector<TokenizedSample> samples = {
      sample({1, 30, 7, 8}), sample({1, kImageToken, 5, 9, 11, 2, 3, 3, 4}, {one.data()}), sample({1, 6, 9})};
  double sum = 0;
  std::map<std::string, at::Tensor> gradients;
  for (const TokenizedSample& s : samples) {
    Chain alone = chain(config, {"connector", "llm"});
    const at::Tensor loss = alone.loss(*make_batch({&s, 1}, config, 64));
    sum += loss.item<double>();
    loss.backward();
    for (size_t u = 0; u < alone.units.size(); ++u)
      for (size_t t = 0; t < alone.parameters[u].size(); ++t) {
        const at::Tensor gradient = alone.parameters[u][t].grad();
        at::Tensor& total = gradients[alone.units[u].tensors[t].name];
        if (gradient.defined()) total = total.defined() ? total + gradient : gradient;
      }
  }
  for (const Padding padding : {Padding::kNone, Padding::kRight}) {
    Chain together = chain(config, {"connector", "llm"});
    const auto batch = make_batch(samples, config, 64, padding);
    ASSERT_EQ(batch->packed(), padding == Padding::kNone);
    const at::Tensor loss = together.loss(*batch);
    EXPECT_NEAR(loss.item<double>(), sum, 1e-4);
    loss.backward();
    int compared = 0;
    for (size_t u = 0; u < together.units.size(); ++u)
      for (size_t t = 0; t < together.parameters[u].size(); ++t) {
        const std::string& name = together.units[u].tensors[t].name;
        if (!together.parameters[u][t].grad().defined()) continue;
        EXPECT_TRUE(at::allclose(together.parameters[u][t].grad(), gradients.at(name), 1e-4, 1e-5)) << name;
        ++compared;
      }
    EXPECT_GT(compared, 20);
  }
}

TEST(LlavaModules, EqualInputsGiveEqualBits) {
  ModelConfig config = tiny_model();
  std::vector<float> one = picture(1);
  std::vector<TokenizedSample> samples = {sample({1, 30, 7, 8}),
                                          sample({1, kImageToken, 5, 9, 11, 2, 3, 3, 4}, {one.data()})};
  auto batch = make_batch(samples, config, 64);
  auto run = [&] {
    Chain c = chain(config, {"connector", "llm"});
    at::Tensor loss = c.loss(*batch);
    loss.backward();
    return std::vector<at::Tensor>{loss.detach(), c.at("multi_modal_projector.linear_1.weight").grad(),
                                   c.at("language_model.model.embed_tokens.weight").grad()};
  };
  auto first = run(), second = run();
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i])) << i;
}

TEST(MakeBatch, CutsMergedSequencesAndImages) {
  ModelConfig config = tiny_model();  // 4 places an image
  std::vector<float> one = picture(1), two = picture(2);
  TokenizedSample s = sample({1, 5, kImageToken, 6, 7, kImageToken, 9}, {one.data(), two.data()});
  auto whole = make_batch({&s, 1}, config, 64);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->lengths[0], 13);
  EXPECT_EQ(whole->pixels_ICHW.size(0), 2);
  EXPECT_EQ(whole->targets.numel(), 3);
  // By hand: 1 5 A A A A 6 7 B B B B 9.
  const auto list = [](const at::Tensor& t) {
    return std::vector<int64_t>(t.const_data_ptr<int64_t>(), t.const_data_ptr<int64_t>() + t.numel());
  };
  EXPECT_EQ(list(whole->ids_BT), (std::vector<int64_t>{1, 5, 0, 0, 0, 0, 6, 7, 0, 0, 0, 0, 9}));
  EXPECT_EQ(list(whole->image_rows), (std::vector<int64_t>{2, 3, 4, 5, 8, 9, 10, 11}));
  EXPECT_EQ(list(whole->image_sources), (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(whole->pixels_ICHW[1][0][0][0].item<float>(), two[0]);
  auto cut = make_batch({&s, 1}, config, 10);
  EXPECT_EQ(cut->image_rows.numel(), 6);
  EXPECT_EQ(cut->image_sources[5].item<int64_t>(), 5);
  EXPECT_EQ(cut->targets.numel(), 2);
  auto shorter = make_batch({&s, 1}, config, 8);  // the second image is cut off altogether
  EXPECT_EQ(shorter->pixels_ICHW.size(0), 1);
  EXPECT_EQ(shorter->ids_BT.size(1), 8);
}

TEST(MakeBatch, PacksSamplesOfDifferentLengths) {
  ModelConfig config = tiny_model();
  std::vector<float> one = picture(1);
  const std::vector<TokenizedSample> samples = {sample({1, 5, 6}), sample({1, kImageToken, 9}, {one.data()}),
                                                sample({1, 7, 3})};
  const auto batch = make_batch(samples, config, 5);  // cuts the second
  ASSERT_TRUE(batch.ok());
  const auto list = [](const at::Tensor& t) {
    return std::vector<int64_t>(t.const_data_ptr<int64_t>(), t.const_data_ptr<int64_t>() + t.numel());
  };
  // By hand: 1 5 6 | 1 A A A A | 1 7 3; the last of a text is supervised.
  ASSERT_TRUE(batch->packed());
  EXPECT_EQ(batch->ids_BT.sizes(), (std::vector<int64_t>{1, 11}));
  EXPECT_EQ(list(batch->ids_BT), (std::vector<int64_t>{1, 5, 6, 1, 0, 0, 0, 0, 1, 7, 3}));
  EXPECT_EQ(list(batch->places_T), (std::vector<int64_t>{0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2}));
  EXPECT_EQ(batch->lengths, (std::vector<int64_t>{3, 5, 3}));
  EXPECT_EQ(list(batch->image_rows), (std::vector<int64_t>{4, 5, 6, 7}));
  EXPECT_EQ(list(batch->target_rows), (std::vector<int64_t>{1, 9}));
  EXPECT_EQ(list(batch->target_sample), (std::vector<int64_t>{0, 2}));
  // Of equal lengths there is nothing to pack; generation wants a row each in any case.
  EXPECT_FALSE(make_batch(std::span(samples).first(2), config, 3)->packed());
  EXPECT_EQ(make_batch(samples, config, 5, Padding::kRight)->ids_BT.sizes(), (std::vector<int64_t>{3, 5}));
}

TEST(MakeBatch, NamesBadSamples) {
  ModelConfig config = tiny_model();
  std::vector<float> one = picture(1);
  auto words = [&](const TokenizedSample& s) { return make_batch({&s, 1}, config, 64).status().message(); };
  EXPECT_THAT(words(sample({1, kImageToken, 3})), HasSubstr("1 <image> in the text and 0 pictures"));
  EXPECT_THAT(words(sample({})), HasSubstr("no tokens"));
  EXPECT_THAT(words(sample({1, 2, 40})), HasSubstr("token id 40 is outside the model's vocabulary of 40"));
  TokenizedSample uneven = sample({1, 2, 3});
  uneven.labels.pop_back();
  EXPECT_THAT(words(uneven), HasSubstr("differ in number"));
  TokenizedSample image = sample({1, kImageToken, 3}, {one.data()});
  EXPECT_THAT(make_lm_batch({&image, 1}, config.text, 64).status().message(), HasSubstr("no vision tower"));
  EXPECT_EQ(make_batch({}, config, 64).status().code(), Code::kInvalidArgument);
  // A picture that no text names is left out, as in the original.
  TokenizedSample unused = sample({1, 2, 3}, {one.data()});
  EXPECT_FALSE(make_batch({&unused, 1}, config, 64)->pixels_ICHW.defined());
}

TEST(ClipModules, GradientsAgreeWithDifferencesOfTheLoss) {
  ClipConfig config = tiny_clip();
  auto units = make_clip_units(config, {"vision", "text"});
  auto weights = tiny_weights(units);
  Chain c(std::move(units), make_clip_modules(config), *weights);
  std::vector<float> one = picture(1), two = picture(2), three = picture(3);
  std::vector<ClipSample> pairs = {{{28, 3, 4, 29}, one.data(), 0},
                                   {{28, 9, 29}, two.data(), 1},
                                   {{28, 5, 6, 7, 8, 9, 10, 11, 29}, three.data(), 2}};
  auto batch = make_clip_batch(pairs, config);
  ASSERT_TRUE(batch.ok()) << batch.status().to_string();
  EXPECT_EQ(batch->loss_tokens, 3);
  EXPECT_EQ(batch->pooled[2].item<int64_t>(), 6);
  c.loss(*batch).backward();
  for (const char* name :
       {"logit_scale", "visual_projection.weight", "text_projection.weight",
        "text_model.embeddings.position_embedding.weight", "text_model.encoder.layers.0.self_attn.q_proj.weight",
        "vision_tower.vision_model.post_layernorm.weight",
        "vision_tower.vision_model.embeddings.patch_embedding.weight"})
    check_gradient(c, *batch, name, 0);
}

TEST(ClipModules, LossIsLogBForEqualPairsAndSmallForMatchingOnes) {
  at::Tensor same = at::ones({4, 2}).div(std::sqrt(2.0)), scale = at::full({}, 2.0);
  EXPECT_NEAR(clip_loss(same, same, scale).item<double>(), 4 * std::log(4.0), 1e-5);
  at::Tensor apart = at::eye(4);
  const double e = std::exp(2.0), x = std::exp(e) / (std::exp(e) + 3);
  EXPECT_NEAR(clip_loss(apart, apart, scale).item<double>(), -4 * std::log(x), 1e-4);
}

TEST(LmModules, LossEqualsTheLlavaModelsOnText) {
  ModelConfig config = tiny_model();
  Chain whole = chain(config, {});
  auto weights = tiny_weights(make_units(config, {}));
  Chain lm(make_lm_units(config.text, {}), make_lm_modules(config.text), *weights);
  TokenizedSample s = sample({1, 30, 7, 8, 12});
  EXPECT_EQ(lm.loss(*make_lm_batch({&s, 1}, config.text, 64)).item<float>(),
            whole.loss(*make_batch({&s, 1}, config, 64)).item<float>());
}

}  // namespace
}  // namespace tephra::model
