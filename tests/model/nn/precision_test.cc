// Training with groups computed in bfloat16: near float32's losses, masters and moments in float32, and the same bits however the
// work is cut.
#include "tests/model/nn/tiny_training.h"

namespace tephra::model {
namespace {

const std::map<std::string, DType> kAll = {
    {"vision", DType::kBFloat16}, {"connector", DType::kBFloat16}, {"llm", DType::kBFloat16}};
const std::map<std::string, DType> kConnectorWide = {{"vision", DType::kBFloat16}, {"llm", DType::kBFloat16}};

class Precision : public testing::Test {
 protected:
  Trained run(int world_size, sharding::ShardLevel shard, int recompute_every,
              const std::map<std::string, DType>& dtypes) {
    return train(config_, *weights_, {}, world_size, shard, recompute_every, {"connector", "llm"}, dtypes);
  }

  const ModelConfig config_ = tiny_model();
  const std::unique_ptr<TensorSource> weights_ = tiny_weights(make_units(config_, {"connector", "llm"}));
};

TEST_F(Precision, StaysNearFloat32) {
  const Trained wide = run(1, sharding::ShardLevel::kParameters, 0, {});
  for (const auto& dtypes : {kAll, kConnectorWide}) {
    const Trained narrow = run(1, sharding::ShardLevel::kParameters, 0, dtypes);
    ASSERT_EQ(narrow.losses.size(), wide.losses.size());
    EXPECT_NE(narrow.losses, wide.losses) << "nothing was computed in bfloat16";
    // bfloat16 keeps 8 bits, and a loss is a mean over some ten tokens. Later steps differ more: AdamW makes a whole step of 0.01
    // of the rounding of a gradient near zero.
    EXPECT_NEAR(narrow.losses[0], wide.losses[0], 0.01 * wide.losses[0]);
    for (size_t s = 1; s < wide.losses.size(); ++s) EXPECT_NEAR(narrow.losses[s], wide.losses[s], 0.1 * wide.losses[s]);
    EXPECT_LT(narrow.losses.back(), narrow.losses.front());
  }
}

TEST_F(Precision, KeepsFloat32Masters) {
  const Trained narrow = run(2, sharding::ShardLevel::kParameters, 0, kAll);
  int64_t finer = 0;
  for (const auto& [key, values] : narrow.state)
    for (const float value : values) finer += static_cast<float>(at::BFloat16(value)) != value;
  EXPECT_GT(finer, 1000) << "the state has no more bits than bfloat16";
}

TEST_F(Precision, GivesTheSameBitsHoweverTheWorkIsCut) {
  for (const auto& dtypes : {kAll, kConnectorWide}) {
    const Trained expected = run(1, sharding::ShardLevel::kParameters, 0, dtypes);
    for (const int world_size : {1, 2, 4})
      for (const sharding::ShardLevel shard : kLevels)
        for (const int recompute_every : {0, 2}) {
          SCOPED_TRACE(std::to_string(world_size) + " ranks, " + std::string(sharding::name_of(shard)));
          const Trained got = run(world_size, shard, recompute_every, dtypes);
          EXPECT_EQ(got.losses, expected.losses);
          EXPECT_EQ(got.evaluation, expected.evaluation);
          EXPECT_TRUE(got.state == expected.state);
        }
  }
}

}  // namespace
}  // namespace tephra::model
