// Training of the tiny model on ranks that are threads, with everything that comes out of it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "cluster/communicator.h"
#include "model/nn/batch.h"
#include "model/nn/feature_cache.h"
#include "model/nn/units.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {

inline std::vector<float> picture(uint64_t seed) {
  std::vector<float> out;
  for (uint64_t i = 0; i < 192; ++i) out.push_back(static_cast<float>(random_normal({seed, i})));
  return out;
}

struct Samples {
  std::vector<float> one = picture(1), two = picture(2);
  std::vector<TokenizedSample> all;
  Samples() {
    for (auto [ids, image] : {std::pair{std::vector<int32_t>{1, kImageToken, 5, 9, 11, 2}, &one},
                              {std::vector<int32_t>{1, 4, kImageToken, 21, 3, 8}, &two},
                              {std::vector<int32_t>{1, 30, 7, 8}, nullptr},
                              {std::vector<int32_t>{1, 6, 17, 2, 2}, nullptr}}) {
      TokenizedSample s{ids, ids, {}, all.size()};
      for (size_t i = 0; i < 3; ++i) s.labels[i] = kIgnoreLabel;
      if (image != nullptr) s.images.push_back(image->data());
      all.push_back(std::move(s));
    }
  }
};

using State = std::map<std::pair<std::string, sharding::StateKind>, std::vector<float>>;

struct Trained {
  std::vector<double> losses;
  double evaluation = 0;
  int64_t features_found = 0;  // on all ranks
  State state;
};

inline constexpr sharding::ShardLevel kLevels[] = {sharding::ShardLevel::kNone, sharding::ShardLevel::kOptimizer,
                                                   sharding::ShardLevel::kGradients, sharding::ShardLevel::kParameters};

// Five steps over the samples, one in a micro-batch, and the loss after them. feature_cache: bytes of features that each
// rank keeps; 0: none.
inline Trained train(const ModelConfig& config, const TensorSource& weights, const std::optional<LoraConfig>& lora,
                     int world_size, sharding::ShardLevel shard, int recompute_every,
                     const std::set<std::string>& groups, const std::map<std::string, DType>& dtypes = {},
                     int64_t feature_cache = 0) {
  const Samples samples;
  std::vector<LlavaBatch> batches;
  for (const TokenizedSample& s : samples.all) batches.push_back(*make_batch({&s, 1}, config, 64));
  auto units = make_units(config, groups, lora);
  set_compute_dtypes(units, dtypes);
  sharding::Policy policy;
  policy.world_size = world_size;
  policy.micro_batches = 4 / world_size;
  policy.shard = shard;
  policy.recompute_every = recompute_every;
  auto communicators = cluster::make_thread_communicators(world_size);
  at::set_num_threads(1);
  Trained trained;
  std::mutex mutex;
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < world_size; ++rank)
    ranks.emplace_back([&, rank] {
      auto executor = sharding::Executor::create(units, make_modules(config, lora), communicators[rank].get(), policy,
                                                 {}, std::chrono::seconds(60));
      ASSERT_TRUE(executor.ok()) << executor.status().to_string();
      const auto read = [&](const std::string& tensor, sharding::StateKind, int64_t begin, int64_t count, float* out) {
        return weights.read_float32(tensor, begin, count, out);
      };
      ASSERT_TRUE((*executor)->load(read, false).ok());
      std::vector<const sharding::MicroBatch*> local;
      for (int m = 0; m < policy.micro_batches; ++m) local.push_back(&batches[rank * policy.micro_batches + m]);
      sharding::StepInput input;
      input.learning_rate.assign(units.size(), 1e-2);
      std::vector<double> losses;
      FeatureCache features(feature_cache, {});
      for (int step = 1; step <= 5; ++step) {
        for (int m = 0; m < policy.micro_batches && feature_cache > 0; ++m)
          features.look_up(batches[rank * policy.micro_batches + m]);
        input.optimizer_step = step;
        const auto stats = (*executor)->train_step(local, input);
        ASSERT_TRUE(stats.ok()) << stats.status().to_string();
        losses.push_back(stats->loss);
      }
      const auto evaluated = (*executor)->evaluate(local);
      ASSERT_TRUE(evaluated.ok()) << evaluated.status().to_string();
      std::lock_guard lock(mutex);
      trained.losses = losses;
      trained.evaluation = evaluated->loss;
      trained.features_found += features.found();
      const sharding::Snapshot snapshot = (*executor)->snapshot();
      for (const auto& piece : snapshot.pieces) {
        std::vector<float>& whole = trained.state[{piece.tensor, piece.kind}];
        whole.resize(static_cast<size_t>(numel(piece.shape)));
        std::copy(piece.values.begin(), piece.values.end(), whole.begin() + piece.begin);
      }
    });
  for (std::thread& rank : ranks) rank.join();
  return trained;
}

}  // namespace tephra::model
