// A language model whose head is its embedding: one tensor that learns from both of its uses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/nn/generate.h"
#include "tests/model/nn/chain.h"
#include "tests/model/nn/tiny_training.h"

namespace tephra::model {
namespace {

const std::string kEmbedding = "language_model.model.embed_tokens.weight", kHead = "language_model.lm_head.weight";

ModelConfig tied_model() {
  ModelConfig config = tiny_model();
  config.text.tied_head = true;
  return config;
}

// The tied model's weights under an untied model's names.
class Untied : public TensorSource {
 public:
  explicit Untied(const TensorSource& tied) : tied_(tied), tensors_(tied.tensors()) {
    const TensorInfo* embedding = tied.find(kEmbedding);
    // In the order of names, where lm_head comes before model.
    const auto place =
        std::find_if(tensors_.begin(), tensors_.end(), [](const TensorInfo& t) { return t.name > kHead; });
    tensors_.insert(place, {kHead, embedding->dtype, embedding->shape});
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
    return tied_.read_float32(name == kHead ? kEmbedding : name, begin, count, out);
  }
  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    return tied_.read_bytes(name == kHead ? kEmbedding : name, begin, count, out);
  }

 private:
  const TensorSource& tied_;
  std::vector<TensorInfo> tensors_;
};

TEST(TiedHead, IsNoTensorOfItsOwn) {
  for (const auto& units : {make_units(tied_model(), {"llm"}), make_lm_units(tied_model().text, {})})
    for (const auto& unit : units)
      for (const auto& tensor : unit.tensors) EXPECT_NE(tensor.name, kHead);
  EXPECT_EQ(make_lm_units(tied_model().text, {}).front().activation_fixed, 40 * 16);
}

// An untied model with equal weights, whose two gradients autograd makes apart, is the other implementation.
TEST(TiedHead, GradientIsTheSumOfBothUses) {
  const Samples samples;
  const auto batch = make_batch(samples.all, tied_model(), 64);
  ASSERT_TRUE(batch.ok());
  const std::set<std::string> groups = {"connector", "llm"};
  const auto weights = tiny_weights(make_units(tied_model(), {}));
  Chain tied(make_units(tied_model(), groups), make_modules(tied_model()), *weights);
  Chain apart(make_units(tiny_model(), groups), make_modules(tiny_model()), Untied(*weights));
  const at::Tensor loss = tied.loss(*batch), same = apart.loss(*batch);
  EXPECT_EQ(loss.item<float>(), same.item<float>());
  loss.backward();
  same.backward();
  const at::Tensor sum = apart.at(kEmbedding).grad() + apart.at(kHead).grad();
  EXPECT_GT(apart.at(kEmbedding).grad().abs().sum().item<float>(), 1e-3);
  EXPECT_GT(apart.at(kHead).grad().abs().sum().item<float>(), 1e-3);
  EXPECT_LT((tied.at(kEmbedding).grad() - sum).abs().max().item<float>(), 1e-5);
  const std::string other = "language_model.model.layers.1.mlp.up_proj.weight";
  EXPECT_TRUE(at::equal(tied.at(other).grad(), apart.at(other).grad()));
}

TEST(TiedHead, LearnsWithTheSameBitsOnTwoRanksAndAtEverySetting) {
  const auto weights = tiny_weights(make_units(tied_model(), {}));
  const std::set<std::string> groups = {"connector", "llm"};
  const Trained one = train(tied_model(), *weights, {}, 1, sharding::ShardLevel::kParameters, 0, groups);
  ASSERT_EQ(one.losses.size(), 5u);
  EXPECT_LT(one.losses.back(), 0.9 * one.losses.front());
  EXPECT_TRUE(one.state.contains({kEmbedding, sharding::StateKind::kParameter}));
  for (const auto shard : kLevels)
    for (const int recompute_every : {0, 1, 2}) {
      const Trained two = train(tied_model(), *weights, {}, 2, shard, recompute_every, groups);
      EXPECT_EQ(two.losses, one.losses);
      EXPECT_EQ(two.evaluation, one.evaluation);
      EXPECT_TRUE(two.state == one.state);
    }
}

TEST(TiedHead, StandsFrozenBehindAdapters) {
  const LoraConfig lora{.rank = 2, .alpha = 4, .targets = {"q_proj", "down_proj"}};
  const auto weights =
      with_initial_values(tiny_weights(make_units(tied_model(), {})), make_units(tied_model(), {}, lora), 5);
  const Trained trained = train(tied_model(), *weights, lora, 2, sharding::ShardLevel::kParameters, 0, {"llm"});
  EXPECT_LT(trained.losses.back(), trained.losses.front());
  EXPECT_FALSE(trained.state.contains({kEmbedding, sharding::StateKind::kParameter}));
}

TEST(TiedHead, IsTheOneThatAnswersAreMadeWith) {
  const Samples samples;
  const auto weights = tiny_weights(make_units(tied_model(), {}));
  auto tied = Generator::create(tied_model(), *weights);
  auto apart = Generator::create(tiny_model(), Untied(*weights));
  ASSERT_TRUE(tied.ok()) << tied.status().to_string();
  ASSERT_TRUE(apart.ok()) << apart.status().to_string();
  const std::vector<Prompt> prompts = {{.ids = samples.all[0].ids, .images = samples.all[0].images}};
  const GenerateOptions options{.max_new_tokens = 12};
  const auto ours = (*tied)->generate(prompts, options), theirs = (*apart)->generate(prompts, options);
  ASSERT_TRUE(ours.ok() && theirs.ok());
  EXPECT_FALSE((*ours)[0].ids.empty());
  EXPECT_EQ((*ours)[0].ids, (*theirs)[0].ids);
}

}  // namespace
}  // namespace tephra::model
