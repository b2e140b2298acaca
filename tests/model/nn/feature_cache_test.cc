// Features of pictures that are kept: training has the same bits with them and without, in any order and company of
// pictures, on any number of ranks; and no more is kept than may be.
#include "model/nn/feature_cache.h"

#include <cstring>

#include "model/nn/tower.h"
#include "tests/model/nn/chain.h"
#include "tests/model/nn/tiny_training.h"

namespace tephra::model {
namespace {

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

// The micro-batch of these pictures, each in a sample of its own.
LlavaBatch batch_of(const std::vector<std::vector<float>>& pictures, const ModelConfig& config) {
  std::vector<TokenizedSample> samples;
  for (const auto& pixels : pictures)
    samples.push_back({{1, kImageToken, 5, 9}, {kIgnoreLabel, kIgnoreLabel, 5, 9}, {pixels.data()}, samples.size()});
  return *make_batch(samples, config, 64);
}

class Tower {
 public:
  // [I, P + 1, Dv] of the batch's pictures.
  at::Tensor features(const LlavaBatch& batch) {
    at::NoGradGuard no_grad;
    sharding::Activations flow;
    for (size_t u = 0; u < modules_.size(); ++u) flow = modules_[u]->forward(chain_.parameters[u], flow, batch);
    EXPECT_EQ(flow.size(), 1u);
    return flow[0];
  }
  const ModelConfig& config() const { return config_; }

 private:
  const ModelConfig config_ = tiny_model();
  Chain chain_{make_units(config_, {}), make_modules(config_), *tiny_weights(make_units(config_, {}))};
  Modules modules_ = make_tower(config_.vision, config_.vision_layers_used());
};

TEST(Tower, APicturesFeaturesDoNotDependOnTheOthers) {
  Tower tower;
  const at::Tensor three = tower.features(batch_of({picture(1), picture(2), picture(3)}, tower.config()));
  ASSERT_EQ(three.size(0), 3);
  const at::Tensor other = tower.features(batch_of({picture(3), picture(1)}, tower.config()));
  const at::Tensor alone = tower.features(batch_of({picture(2)}, tower.config()));
  EXPECT_TRUE(same_bits(other.narrow(0, 0, 1), three.narrow(0, 2, 1)));
  EXPECT_TRUE(same_bits(other.narrow(0, 1, 1), three.narrow(0, 0, 1)));
  EXPECT_TRUE(same_bits(alone, three.narrow(0, 1, 1)));
}

TEST(FeatureCache, GivesBackWhatWasComputedInOrder) {
  Tower tower;
  FeatureCache cache(1 << 20, {});
  LlavaBatch first = batch_of({picture(1), picture(2)}, tower.config());
  cache.look_up(first);
  EXPECT_EQ(cache.missed(), 2);
  const at::Tensor computed = tower.features(first);
  EXPECT_EQ(cache.held_bytes(), static_cast<int64_t>(computed.nbytes()));

  LlavaBatch second = batch_of({picture(2), picture(7), picture(1), picture(2)}, tower.config());
  cache.look_up(second);
  EXPECT_EQ(cache.found(), 3);
  EXPECT_FALSE(second.features[1].defined());
  const at::Tensor mixed = tower.features(second);
  LlavaBatch plain = batch_of({picture(2), picture(7), picture(1), picture(2)}, tower.config());
  EXPECT_TRUE(same_bits(mixed, tower.features(plain)));

  // All kept: the tower gets nothing to do, and only hands them on.
  LlavaBatch third = batch_of({picture(7), picture(2)}, tower.config());
  cache.look_up(third);
  EXPECT_EQ(cache.found(), 5);
  EXPECT_TRUE(same_bits(tower.features(third), at::cat({mixed.narrow(0, 1, 1), mixed.narrow(0, 0, 1)}, 0)));
}

TEST(FeatureCache, KeepsNoMoreThanItMayAndWhatItHas) {
  Tower tower;
  LlavaBatch probe = batch_of({picture(1)}, tower.config());
  const auto each = static_cast<int64_t>(tower.features(probe).nbytes());
  FeatureCache cache(2 * each + each / 2, {});
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    LlavaBatch batch = batch_of({picture(seed)}, tower.config());
    cache.look_up(batch);
    tower.features(batch);
    EXPECT_EQ(cache.held_bytes(), std::min<int64_t>(2, static_cast<int64_t>(seed)) * each);
  }
  LlavaBatch again = batch_of({picture(1), picture(2), picture(5)}, tower.config());
  cache.look_up(again);
  EXPECT_EQ(cache.found(), 2);
}

TEST(FeatureCache, HasNothingOfAnotherTowerAndNothingWithoutPictures) {
  const at::Tensor features = at::ones({1, 2, 3});
  Tower tower;
  LlavaBatch batch = batch_of({picture(1)}, tower.config());
  FeatureCache one(1 << 20, {1, 2}), other(1 << 20, {1, 3});
  one.look_up(batch);
  const Hash128 key = batch.feature_keys.at(0);
  other.look_up(batch);
  EXPECT_NE(batch.feature_keys.at(0), key);

  LlavaBatch text = *make_batch(std::vector<TokenizedSample>{{{1, 5, 9}, {1, 5, 9}, {}, 0}}, tower.config(), 64);
  one.look_up(text);
  EXPECT_TRUE(text.features.empty());
  EXPECT_EQ(one.missed(), 1);
}

TEST(FeatureCache, ChangesNoBitOfTraining) {
  const ModelConfig config = tiny_model();
  const auto weights = tiny_weights(make_units(config, {"connector", "llm"}));
  for (const std::set<std::string>& groups :
       {std::set<std::string>{"connector"}, std::set<std::string>{"connector", "llm"}}) {
    for (const DType vision : {DType::kFloat32, DType::kBFloat16}) {
      const std::map<std::string, DType> dtypes{{"vision", vision}};
      const Trained without = train(config, *weights, {}, 1, sharding::ShardLevel::kNone, 0, groups, dtypes);
      EXPECT_EQ(without.features_found, 0);
      for (const int world : {1, 2}) {
        const Trained with =
            train(config, *weights, {}, world, sharding::ShardLevel::kParameters, 1, groups, dtypes, 1 << 20);
        EXPECT_EQ(with.features_found, 2 * 4) << "two pictures, in the four steps after the first";
        EXPECT_EQ(with.losses, without.losses);
        EXPECT_EQ(with.evaluation, without.evaluation);
        EXPECT_EQ(with.state, without.state);
      }
    }
  }
}

}  // namespace
}  // namespace tephra::model
