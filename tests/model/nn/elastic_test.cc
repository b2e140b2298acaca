// A LLaVA model in training while its ranks change 4 -> 2 -> 1 -> 4: the same bits as on one undisturbed rank, in losses,
// norms, weights and moments, at every sharding level and recomputation. Micro-batches with a picture, with text alone
// and with both stand side by side, so some ranks get no picture in a step.
#include <cstring>

#include "tests/model/nn/tiny_training.h"

namespace tephra::model {
namespace {

using sharding::Policy;
using sharding::StateKind;

// Eight micro-batches: picture; text; both; text; ... of the tiny training's four samples.
std::vector<LlavaBatch> mixed_batches(const ModelConfig& config, const Samples& samples) {
  std::vector<LlavaBatch> batches;
  for (const std::vector<size_t>& rows : {std::vector<size_t>{0}, {2}, {1, 3}, {3, 2}, {0, 1}, {2}, {3}, {1}}) {
    std::vector<TokenizedSample> of_batch;
    for (const size_t row : rows) of_batch.push_back(samples.all[row]);
    batches.push_back(*make_batch(of_batch, config, 64));
  }
  return batches;
}

struct Course {
  std::vector<sharding::StepStats> steps;
  State state;
};

class Elastic {
 public:
  explicit Elastic(const std::set<std::string>& groups) : units_(make_units(config_, groups)) {}

  // `steps` more steps on `world` ranks, from where `run` stands.
  void go_on(Course& run, int world, int steps, Policy policy) {
    policy.world_size = world;
    policy.micro_batches = static_cast<int>(batches_.size()) / world;
    const size_t done = run.steps.size();
    auto communicators = cluster::make_thread_communicators(world);
    at::set_num_threads(1);
    std::mutex mutex;
    State next;
    std::vector<std::thread> ranks;
    for (int rank = 0; rank < world; ++rank)
      ranks.emplace_back([&, rank] {
        auto executor = sharding::Executor::create(units_, make_modules(config_), communicators[rank].get(), policy, {},
                                                   std::chrono::seconds(60));
        ASSERT_TRUE(executor.ok()) << executor.status().to_string();
        ASSERT_TRUE((*executor)->load(reader(run.state), done > 0).ok());
        std::vector<const sharding::MicroBatch*> local;
        for (int m = 0; m < policy.micro_batches; ++m) local.push_back(&batches_[rank * policy.micro_batches + m]);
        for (int s = 0; s < steps; ++s) {
          sharding::StepInput input;
          input.learning_rate.assign(units_.size(), 1e-2);
          input.optimizer_step = static_cast<int64_t>(done) + s + 1;
          const auto stats = (*executor)->train_step(local, input);
          ASSERT_TRUE(stats.ok()) << stats.status().to_string();
          std::lock_guard lock(mutex);
          if (rank == 0) run.steps.push_back(*stats);
        }
        std::lock_guard lock(mutex);
        for (const auto& piece : (*executor)->snapshot().pieces) {
          std::vector<float>& whole = next[{piece.tensor, piece.kind}];
          whole.resize(static_cast<size_t>(numel(piece.shape)));
          std::copy(piece.values.begin(), piece.values.end(), whole.begin() + piece.begin);
        }
      });
    for (std::thread& rank : ranks) rank.join();
    run.state = std::move(next);
  }

 private:
  sharding::Executor::Reader reader(const State& state) const {
    return [this, &state](const std::string& tensor, StateKind kind, int64_t begin, int64_t count, float* out) {
      const auto found = state.find({tensor, kind});
      if (found == state.end()) return weights_->read_float32(tensor, begin, count, out);
      std::copy_n(found->second.begin() + begin, count, out);
      return ok_status();
    };
  }

  const ModelConfig config_ = tiny_model();
  const std::vector<sharding::UnitSpec> units_;
  const std::unique_ptr<TensorSource> weights_ = tiny_weights(units_);
  const Samples samples_;
  const std::vector<LlavaBatch> batches_ = mixed_batches(config_, samples_);
};

bool same_bits(const State& a, const State& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
           const auto other = b.find(entry.first);
           return other != b.end() && other->second.size() == entry.second.size() &&
                  std::memcmp(other->second.data(), entry.second.data(), entry.second.size() * sizeof(float)) == 0;
         });
}

TEST(Elastic, AModelsRanksChangeInMidRunWithTheSameBits) {
  for (const std::set<std::string>& groups : {std::set<std::string>{"connector"}, {"connector", "llm"}}) {
    Elastic elastic(groups);
    Course whole;
    elastic.go_on(whole, 1, 8, {});
    ASSERT_EQ(whole.steps.size(), 8u);
    EXPECT_NE(whole.steps[0].loss, whole.steps[7].loss);
    std::vector<Policy> policies;
    for (const sharding::ShardLevel shard : kLevels)
      for (const int recompute_every : {0, 1, 2})
        policies.push_back({.shard = shard, .recompute_every = recompute_every, .prefetch = recompute_every + 1});
    policies.push_back({.reshard_after_forward = false, .prefetch = 0});
    policies.push_back({.group_ranks = 2});
    for (const Policy& policy : policies) {
      SCOPED_TRACE(to_string(policy) + ", " + std::to_string(groups.size()) + " groups");
      Course changed;
      for (const int world : {4, 2, 1, 4}) {
        Policy now = policy;
        if (world == 1) now.group_ranks = 0;
        elastic.go_on(changed, world, 2, now);
      }
      ASSERT_EQ(changed.steps.size(), 8u);
      for (size_t s = 0; s < 8; ++s) {
        EXPECT_EQ(changed.steps[s].loss, whole.steps[s].loss) << "step " << s + 1;
        EXPECT_EQ(changed.steps[s].gradient_norm, whole.steps[s].gradient_norm) << "step " << s + 1;
        EXPECT_EQ(changed.steps[s].micro_batch_losses, whole.steps[s].micro_batch_losses) << "step " << s + 1;
      }
      EXPECT_TRUE(same_bits(changed.state, whole.state));
    }
  }
}

}  // namespace
}  // namespace tephra::model
