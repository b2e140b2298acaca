// Adapters in the chain of units: without effect at their initial values, equal to a model with merged weights in losses and, by
// autograd through that merge, in gradients; and trained through the executor they alone (and the connector) change, to the same bits
// at one and two ranks.
#include <gtest/gtest.h>

#include "model/nn/batch.h"
#include "model/nn/generate.h"
#include "tests/model/nn/chain.h"
#include "tests/model/nn/tiny_training.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

const LoraConfig kLora{.rank = 3, .alpha = 6, .targets = {"q_proj", "v_proj", "gate_proj", "down_proj"}};
const LoraConfig kAll{
    .rank = 2, .alpha = 1, .targets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};

// The tiny model with adapters at their initial values.
std::unique_ptr<TensorSource> fresh_adapters(const ModelConfig& config, const LoraConfig& lora) {
  return with_initial_values(tiny_weights(make_units(config, {})), make_units(config, {}, lora), 5);
}

TEST(Lora, StartsAsTheModelItself) {
  const ModelConfig config = tiny_model();
  const Samples samples;
  const auto batch = make_batch(samples.all, config, 64);
  ASSERT_TRUE(batch.ok());
  const auto weights = fresh_adapters(config, kAll);
  Chain base(make_units(config, {}), make_modules(config), *weights);
  Chain adapted(make_units(config, {}, kAll), make_modules(config, kAll), *weights);
  EXPECT_EQ(adapted.loss(*batch).item<float>(), base.loss(*batch).item<float>());
}

class LoraGradients : public ::testing::TestWithParam<LoraConfig> {};

TEST_P(LoraGradients, AreThoseOfAutogradThroughMergedWeights) {
  const LoraConfig& lora = GetParam();
  const ModelConfig config = tiny_model();
  const Samples samples;
  const auto batch = make_batch(samples.all, config, 64);
  ASSERT_TRUE(batch.ok());
  const auto weights = tiny_weights(make_units(config, {}, lora));
  Chain adapted(make_units(config, {"connector", "llm"}, lora), make_modules(config, lora), *weights);
  const at::Tensor loss = adapted.loss(*batch);
  loss.backward();

  // The same adapters as leaves, merged by plain operations into the weights of a chain that knows nothing of them.
  Chain merged(make_units(config, {"connector"}), make_modules(config), *weights);
  std::map<std::string, at::Tensor> leaves;
  for (const auto& spec : adapted.units[5].tensors)
    leaves[spec.name] = adapted.at(spec.name).detach().clone().requires_grad_(true);
  for (const auto& spec : adapted.units[5].tensors) {
    if (!spec.name.ends_with(".lora_A.weight")) continue;
    const std::string weight = spec.name.substr(0, spec.name.size() - 14) + ".weight";
    at::Tensor& w = merged.at(weight);
    w = w + at::matmul(leaves.at(lora_name(weight, 'B')), leaves.at(spec.name)) * lora.scale();
  }
  const at::Tensor expected = merged.loss(*batch);
  expected.backward();
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-4);
  for (const auto& [name, leaf] : leaves) {
    ASSERT_TRUE(adapted.at(name).grad().defined()) << name;
    EXPECT_GT(leaf.grad().abs().max().item<double>(), 1e-4) << name;
    EXPECT_TRUE(at::allclose(adapted.at(name).grad(), leaf.grad(), 1e-4, 1e-5)) << name;
  }
  const std::string connector = "multi_modal_projector.linear_1.weight";
  EXPECT_TRUE(at::allclose(adapted.at(connector).grad(), merged.at(connector).grad(), 1e-4, 1e-5));
  EXPECT_FALSE(adapted.at("language_model.lm_head.weight").grad().defined());
}

INSTANTIATE_TEST_SUITE_P(All, LoraGradients, ::testing::Values(kLora, kAll),
                         [](const auto& info) { return std::to_string(info.param.targets.size()) + "_targets"; });

TEST(Lora, MergedForInferenceGivesTheSameLoss) {
  const ModelConfig config = tiny_model();
  const Samples samples;
  const auto weights = tiny_weights(make_units(config, {}, kLora));
  Chain adapted(make_units(config, {}, kLora), make_modules(config, kLora), *weights);
  const auto merged = merged_lora(*weights, kLora);
  ASSERT_TRUE(merged.ok()) << merged.status().to_string();
  auto generator = Generator::create(config, **merged);
  ASSERT_TRUE(generator.ok()) << generator.status().to_string();
  const auto scores = (*generator)->score(samples.all, 64);
  ASSERT_TRUE(scores.ok()) << scores.status().to_string();
  for (size_t i = 0; i < samples.all.size(); ++i) {
    const auto batch = make_batch({&samples.all[i], 1}, config, 64);
    const double mean = adapted.loss(*batch).item<double>() / static_cast<double>((*scores)[i].tokens);
    EXPECT_NEAR((*scores)[i].loss, mean, 1e-5) << i;
  }
}

Trained train(int world_size, sharding::ShardLevel shard, int recompute_every, const std::set<std::string>& groups) {
  const ModelConfig config = tiny_model();
  return train(config, *fresh_adapters(config, kLora), kLora, world_size, shard, recompute_every, groups);
}

TEST(LoraTraining, ChangesTheAdaptersAndTheConnectorAndNothingElse) {
  const Trained trained = train(1, sharding::ShardLevel::kParameters, 0, {"connector", "llm"});
  ASSERT_EQ(trained.losses.size(), 5u);
  EXPECT_LT(trained.losses.back(), 0.9 * trained.losses.front());
  EXPECT_LT(trained.evaluation, trained.losses.back());
  const ModelConfig config = tiny_model();
  const auto before = fresh_adapters(config, kLora);
  EXPECT_EQ(trained.state.size(), 3 * (2u * 4 * 2 + 4));  // with both moments
  for (const auto& [key, values] : trained.state) {
    const std::string& name = key.first;
    EXPECT_TRUE(name.find(".lora_") != std::string::npos || name.starts_with("multi_modal_projector.")) << name;
    if (key.second != sharding::StateKind::kParameter) continue;
    std::vector<float> start(values.size());
    ASSERT_TRUE(before->read_float32(name, 0, std::ssize(values), start.data()).ok());
    EXPECT_NE(values, start) << name;
  }
}

TEST(LoraTraining, GivesTheSameBitsOnTwoRanksAtEveryLevel) {
  const Trained one = train(1, sharding::ShardLevel::kParameters, 0, {"connector", "llm"});
  for (const auto shard : kLevels) {
    const Trained two = train(2, shard, 0, {"connector", "llm"});
    EXPECT_EQ(two.losses, one.losses);
    EXPECT_EQ(two.evaluation, one.evaluation);
    EXPECT_TRUE(two.state == one.state);
  }
}

TEST(LoraTraining, RecomputationGivesTheSameBits) {
  const auto shard = sharding::ShardLevel::kParameters;
  const Trained kept = train(2, shard, 0, {"llm"}), again = train(2, shard, 1, {"llm"});
  EXPECT_EQ(again.losses, kept.losses);
  EXPECT_FALSE(kept.state.empty());
  EXPECT_TRUE(again.state == kept.state);
}

}  // namespace
}  // namespace tephra::model
