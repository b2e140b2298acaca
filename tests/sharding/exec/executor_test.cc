// The executor over a toy chain: equal to plain autograd without sharding, equal bits however the work is cut, and
// orderly ends.
#include "sharding/exec/executor.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "base/random.h"
#include "tests/sharding/exec/chain.h"

namespace tephra::sharding::test {
namespace {

// Training without units, shards or schedules: one tape over everything, and AdamW in double.
class Plain {
 public:
  explicit Plain(const OptimizerOptions& options) : options_(options) {
    for (const UnitSpec& unit : units_) {
      std::vector<at::Tensor> tensors;
      for (const TensorSpec& spec : unit.tensors) {
        at::Tensor tensor = at::empty(spec.shape, at::kFloat);
        for (int64_t i = 0; i < tensor.numel(); ++i) tensor.mutable_data_ptr<float>()[i] = initial_value(spec.name, i);
        tensor.set_requires_grad(unit.trainable);
        tensors.push_back(tensor);
      }
      parameters_.push_back(tensors);
    }
  }

  double loss_sum(const MicroBatch& batch, bool backward) {
    Activations x;
    for (size_t u = 0; u < units_.size(); ++u) x = modules_[u]->forward(parameters_[u], x, batch);
    if (backward) x[0].backward();
    return x[0].item<float>();
  }

  StepStats step(const std::vector<std::unique_ptr<ToyBatch>>& batches, const StepInput& input) {
    StepStats stats;
    for (const auto& batch : batches) {
      stats.loss += loss_sum(*batch, true);
      stats.loss_tokens += batch->loss_tokens;
    }
    stats.loss /= stats.loss_tokens;
    each_trained([&](size_t, const TensorSpec&, at::Tensor& tensor) {
      const float* g = tensor.grad().const_data_ptr<float>();
      for (int64_t i = 0; i < tensor.numel(); ++i) stats.gradient_norm += std::pow(g[i] / double(stats.loss_tokens), 2);
    });
    stats.gradient_norm = std::sqrt(stats.gradient_norm);
    const double clip = options_.clip_norm > 0 ? std::min(1.0, options_.clip_norm / (stats.gradient_norm + 1e-6)) : 1;
    each_trained([&](size_t u, const TensorSpec& spec, at::Tensor& tensor) {
      update(spec, tensor, input.learning_rate[u], input.optimizer_step, clip / stats.loss_tokens);
      tensor.mutable_grad() = at::Tensor();
    });
    return stats;
  }

  void expect_near(const State& state, double tolerance) {
    each_trained([&](size_t, const TensorSpec& spec, at::Tensor& tensor) {
      const std::vector<float>& values = state.at({spec.name, StateKind::kParameter});
      const std::vector<double>& m = first_[spec.name];
      const std::vector<double>& v = second_[spec.name];
      for (int64_t i = 0; i < tensor.numel(); ++i) {
        ASSERT_NEAR(values[i], tensor.const_data_ptr<float>()[i], tolerance) << spec.name << " " << i;
        ASSERT_NEAR(state.at({spec.name, StateKind::kFirstMoment})[i], m[i], tolerance);
        ASSERT_NEAR(state.at({spec.name, StateKind::kSecondMoment})[i], v[i], tolerance);
      }
    });
  }

 private:
  template <typename Each>
  void each_trained(const Each& each) {
    for (size_t u = 0; u < units_.size(); ++u) {
      if (!units_[u].trainable) continue;
      for (size_t t = 0; t < parameters_[u].size(); ++t) each(u, units_[u].tensors[t], parameters_[u][t]);
    }
  }

  void update(const TensorSpec& spec, at::Tensor& tensor, double lr, int64_t step, double scale) {
    std::vector<double>& m = first_[spec.name];
    std::vector<double>& v = second_[spec.name];
    m.resize(tensor.numel());
    v.resize(tensor.numel());
    float* p = tensor.mutable_data_ptr<float>();
    const float* g = tensor.grad().const_data_ptr<float>();
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      m[i] = options_.beta1 * m[i] + (1 - options_.beta1) * g[i] * scale;
      v[i] = options_.beta2 * v[i] + (1 - options_.beta2) * g[i] * scale * g[i] * scale;
      const double decayed = p[i] * (1 - (spec.shape.size() >= 2 ? lr * options_.weight_decay : 0));
      const double denominator = std::sqrt(v[i] / (1 - std::pow(options_.beta2, step))) + options_.epsilon;
      p[i] = static_cast<float>(decayed - lr * m[i] / (1 - std::pow(options_.beta1, step)) / denominator);
    }
  }

  const OptimizerOptions options_;
  const std::vector<UnitSpec> units_ = toy_units();
  const std::vector<std::unique_ptr<UnitModule>> modules_ = toy_modules();
  std::vector<std::vector<at::Tensor>> parameters_;
  std::map<std::string, std::vector<double>> first_, second_;
};

TEST(Executor, EqualsPlainAutograd) {
  const Training training{.world_size = 2, .global_micro_batches = 6, .steps = 4, .recompute_every = 1};
  const Trained trained = train(training, initial_reader(), false);
  ASSERT_EQ(trained.stats.size(), 4u);
  Plain plain(optimizer_of(training));
  for (int s = 1; s <= 4; ++s) {
    const StepStats expected = plain.step(toy_batches(s, 6), step_input(s));
    EXPECT_NEAR(trained.stats[s - 1].loss, expected.loss, 1e-5);
    EXPECT_NEAR(trained.stats[s - 1].gradient_norm, expected.gradient_norm, 1e-5);
    EXPECT_GT(expected.gradient_norm, 1.0) << "clipping is not exercised";
    EXPECT_EQ(trained.stats[s - 1].loss_tokens, expected.loss_tokens);
  }
  // AdamW divides by the gradient's own size, so rounding of a gradient near zero becomes a part of the learning rate
  // 0.01.
  plain.expect_near(trained.state, 2e-5);
  double sum = 0, tokens = 0;
  for (const auto& batch : toy_batches(1000, 6)) {
    sum += plain.loss_sum(*batch, false);
    tokens += batch->loss_tokens;
  }
  EXPECT_NEAR(trained.evaluation, sum / tokens, 1e-4);
}

TEST(Executor, GivesTheSameBitsHoweverTheWorkIsCut) {
  for (int micro_batches : {4, 12}) {
    const Trained expected = train({.world_size = 1, .global_micro_batches = micro_batches}, initial_reader(), false);
    ASSERT_EQ(expected.stats.size(), 3u);
    EXPECT_FALSE(expected.stats[0].skipped);
    for (int world : {1, 2, 4}) {
      for_strategies([&](Training training) {
        if (world < training.group_ranks) return;
        training.world_size = world;
        training.global_micro_batches = micro_batches;
        SCOPED_TRACE(to_string(policy_of(training)));
        expect_same(train(training, initial_reader(), false), expected);
      });
    }
  }
}

// With a snapshot held in each step, so that the second set of state is needed as planned.
TEST(Executor, HoldsWhatWasPlannedAndNoMore) {
  for (const int micro_batches : {1, 2, 3, 4}) {
    for (const int world : {1, 2, 4}) {
      for_strategies([&](Training training) {
        if (world < training.group_ranks) return;
        training.world_size = world;
        training.global_micro_batches = micro_batches * world;
        const Policy policy = policy_of(training);
        SCOPED_TRACE(to_string(policy));
        const std::vector<UnitSpec> units = toy_units();
        const MemoryEstimate planned = estimate(make_schedule(units, policy), units, policy, 1).memory;
        auto communicators = cluster::make_thread_communicators(world);
        const auto batches = toy_batches(1, training.global_micro_batches);
        on_ranks(world, [&](int rank) {
          auto executor =
              Executor::create(units, toy_modules(), communicators[rank].get(), policy, {}, std::chrono::seconds(60));
          ASSERT_TRUE(executor.ok()) << executor.status().to_string();
          ASSERT_TRUE((*executor)->load(initial_reader(), false).ok());
          Snapshot held;
          for (int s = 1; s <= 3; ++s) {
            ASSERT_TRUE((*executor)->train_step(local_part(batches, rank, world), step_input(s)).ok());
            held = (*executor)->snapshot();
          }
          const HeldPeaks peaks = (*executor)->held_peaks();
          EXPECT_EQ(peaks.gathered, planned.gathered_peak);
          // Autograd's gradients have no padding; a unit that gets none for want of a picture counts as if it did.
          const int64_t largest = units[2].flat_numel * int64_t{sizeof(float)};
          EXPECT_LE(peaks.gradients, planned.gradient_peak);
          EXPECT_GE(peaks.gradients, planned.gradient_peak - largest);
          EXPECT_LE(peaks.total, planned.total() - planned.activation_peak);
        });
      });
    }
  }
}

// Takes its tensors' means into what passes through, so that each of them gets a gradient.
class Means : public UnitModule {
 public:
  Means(bool first, bool last) : first_(first), last_(last) {}
  Activations forward(const std::vector<at::Tensor>& parameters, const Activations& in,
                      const MicroBatch& batch) override {
    at::Tensor h = first_ ? static_cast<const ToyBatch&>(batch).x_BD : in[0];
    for (const at::Tensor& parameter : parameters) h = (h * (parameter.tanh().mean() + 1)).tanh();
    return {last_ ? h.square().sum() : h};
  }

 private:
  const bool first_, last_;
};

struct RandomCase {
  std::vector<UnitSpec> units;
  Policy policy;
};

RandomCase random_case(uint64_t seed) {
  RandomCase c;
  c.units.resize(1 + random_below(7, {seed, 0}));
  for (uint64_t u = 0; u < c.units.size(); ++u) {
    c.units[u] = {.name = "u" + std::to_string(u), .group = "llm", .trainable = random_below(3, {seed, 1, u}) != 0};
    if (random_below(3, {seed, 10, u}) == 0) c.units[u].compute_dtype = DType::kBFloat16;
    for (uint64_t t = 0; t < random_below(4, {seed, 2, u}); ++t) {
      c.units[u].tensors.push_back(
          {c.units[u].name + "." + std::to_string(t), {static_cast<int64_t>(1 + random_below(6000, {seed, 3, u, t}))}});
    }
  }
  layout(c.units);
  c.policy = {.world_size = 1 << random_below(3, {seed, 4}),
              .shard = static_cast<ShardLevel>(random_below(4, {seed, 5})),
              .reshard_after_forward = random_below(2, {seed, 6}) == 1,
              .recompute_every = static_cast<int>(random_below(4, {seed, 7})),
              .prefetch = static_cast<int>(random_below(5, {seed, 8}))};
  c.policy.micro_batches = static_cast<int>(1 + random_below(4, {seed, 9})) * 4 / c.policy.world_size;
  const bool parameters = c.policy.shard == ShardLevel::kParameters;
  c.policy.offload = static_cast<Offload>(random_below(parameters ? 3 : 2, {seed, 11}));
  if (c.policy.world_size == 4) c.policy.group_ranks = static_cast<int>(2 * random_below(3, {seed, 10}));
  return c;
}

// Three steps of `policy` over `units`, a snapshot held in each; `planned` is compared with what was held.
Trained train_random(const std::vector<UnitSpec>& units, const Policy& policy) {
  const MemoryEstimate planned = estimate(make_schedule(units, policy), units, policy, 1).memory;
  int64_t largest = 0;
  for (const UnitSpec& unit : units) largest = std::max<int64_t>(largest, unit.flat_numel * sizeof(float));
  auto communicators = cluster::make_thread_communicators(policy.world_size);
  const auto batches = toy_batches(1, policy.micro_batches * policy.world_size);
  std::mutex mutex;
  Trained trained;
  on_ranks(policy.world_size, [&](int rank) {
    std::vector<std::unique_ptr<UnitModule>> modules;
    for (size_t u = 0; u < units.size(); ++u) modules.push_back(std::make_unique<Means>(u == 0, u + 1 == units.size()));
    auto executor =
        Executor::create(units, std::move(modules), communicators[rank].get(), policy, {}, std::chrono::seconds(60));
    ASSERT_TRUE(executor.ok()) << executor.status().to_string();
    ASSERT_TRUE((*executor)->load(initial_reader(), false).ok());
    std::vector<StepStats> stats;
    Snapshot held;
    for (int s = 1; s <= 3; ++s) {
      const auto step =
          (*executor)->train_step(local_part(batches, rank, policy.world_size),
                                  {.learning_rate = std::vector<double>(units.size(), 0.01), .optimizer_step = s});
      ASSERT_TRUE(step.ok()) << step.status().to_string();
      stats.push_back(*step);
      held = (*executor)->snapshot();
    }
    const HeldPeaks peaks = (*executor)->held_peaks();
    EXPECT_EQ(peaks.gathered, planned.gathered_peak);
    EXPECT_LE(peaks.gradients, planned.gradient_peak);
    EXPECT_GE(peaks.gradients, planned.gradient_peak - largest);
    EXPECT_LE(peaks.total, planned.total() - planned.activation_peak);
    std::lock_guard lock(mutex);
    add_to(trained.state, held);
    trained.stats = stats;
  });
  return trained;
}

TEST(Executor, RandomChainsAndPoliciesGiveTheSameBitsInThePlannedMemory) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    const RandomCase c = random_case(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + to_string(c.policy));
    const Policy alone{.micro_batches = c.policy.micro_batches * c.policy.world_size};
    expect_same(train_random(c.units, c.policy), train_random(c.units, alone));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Executor, EachLevelDividesMore) {
  std::vector<MemoryEstimate> planned;
  for (const ShardLevel shard : kLevels) {
    const Policy policy{.world_size = 4, .shard = shard};
    planned.push_back(estimate(make_schedule(toy_units(), policy), toy_units(), policy, 1).memory);
  }
  EXPECT_EQ(planned[0].optimizer_shards, 4 * planned[1].optimizer_shards);
  EXPECT_EQ(planned[0].gathered_peak, 0);
  EXPECT_EQ(planned[1].gathered_peak, planned[0].parameter_shards);
  EXPECT_LT(planned[2].gradient_peak, planned[1].gradient_peak);
  EXPECT_LT(planned[3].gathered_peak, planned[2].gathered_peak);
}

TEST(Executor, ASnapshotHasARanksOwnPartOfReplicatedState) {
  for (const ShardLevel shard : kLevels) {
    auto communicators = cluster::make_thread_communicators(2);
    std::vector<int64_t> elements(2);
    on_ranks(2, [&](int rank) {
      auto executor = Executor::create(toy_units(), toy_modules(), communicators[rank].get(),
                                       {.world_size = 2, .shard = shard}, {}, std::chrono::seconds(60));
      ASSERT_TRUE(executor.ok()) << executor.status().to_string();
      for (const StatePiece& piece : (*executor)->snapshot().pieces) elements[rank] += std::ssize(piece.values);
    });
    int64_t trained = 0;
    for (const UnitSpec& unit : toy_units())
      for (const TensorSpec& tensor : unit.tensors) trained += unit.trainable ? numel(tensor.shape) : 0;
    EXPECT_EQ(elements[0] + elements[1], 3 * trained);
  }
}

TEST(Executor, ContinuesAtAnotherWorldSizeAndLevelWithTheSameBits) {
  const Trained whole = train({.world_size = 1, .steps = 5}, initial_reader(), false);
  const Trained first = train({.world_size = 4, .steps = 2, .shard = ShardLevel::kNone}, initial_reader(), false);
  const Trained second = train({.world_size = 2, .first_step = 3, .steps = 3}, reader_of(first.state), true);
  EXPECT_TRUE(same_bits(second.state, whole.state));
  ASSERT_EQ(second.stats.size(), 3u);
  for (int s = 0; s < 3; ++s) EXPECT_EQ(second.stats[s].loss, whole.stats[s + 2].loss);
  const Trained without_moments = train({.world_size = 2, .first_step = 3, .steps = 3}, reader_of(first.state), false);
  EXPECT_FALSE(same_bits(without_moments.state, whole.state)) << "moments are not part of what is compared";
}

TEST(Executor, TrainsWhenNoMicroBatchHasAPicture) {
  const auto no_pictures = [](int, std::vector<std::unique_ptr<ToyBatch>>& batches) {
    for (auto& batch : batches) batch->picture = false;
  };
  const Trained one = train({.world_size = 1, .weight_decay = 0}, initial_reader(), false, no_pictures);
  const Trained four =
      train({.world_size = 4, .recompute_every = 1, .weight_decay = 0}, initial_reader(), false, no_pictures);
  expect_same(one, four);
  const std::vector<float>& connector = one.state.at({"connector.0", StateKind::kParameter});
  for (size_t i = 0; i < connector.size(); ++i) ASSERT_EQ(connector[i], initial_value("connector.0", i));
  EXPECT_NE(one.state.at({"head.0", StateKind::kParameter})[0], initial_value("head.0", 0));
}

TEST(Executor, SkipsAStepWhoseLossIsNotFinite) {
  const auto poison = [](int step, std::vector<std::unique_ptr<ToyBatch>>& batches) {
    if (step == 2) batches[3]->x_BD.mutable_data_ptr<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  };
  const Trained trained = train({.world_size = 2, .steps = 2}, initial_reader(), false, poison);
  ASSERT_EQ(trained.stats.size(), 2u);
  EXPECT_FALSE(trained.stats[0].skipped);
  EXPECT_TRUE(trained.stats[1].skipped);
  ASSERT_EQ(trained.stats[1].micro_batch_losses.size(), 4u);
  for (int m = 0; m < 4; ++m) EXPECT_EQ(std::isnan(trained.stats[1].micro_batch_losses[m]), m == 3);
  const Trained before = train({.world_size = 2, .steps = 1}, initial_reader(), false);
  EXPECT_TRUE(same_bits(trained.state, before.state));
}

TEST(Executor, SkipsAStepWithoutSupervisedTokens) {
  const auto none = [](int, std::vector<std::unique_ptr<ToyBatch>>& batches) {
    for (auto& batch : batches) batch->loss_tokens = 0;
  };
  const Trained trained = train({.world_size = 2, .steps = 1}, initial_reader(), false, none);
  ASSERT_EQ(trained.stats.size(), 1u);
  EXPECT_TRUE(trained.stats[0].skipped);
  EXPECT_EQ(trained.stats[0].loss, 0);
}

// One rank, for what does not need more.
std::unique_ptr<Executor> alone(cluster::Communicator* self, const Training& training) {
  auto executor = Executor::create(toy_units(), toy_modules(), self, policy_of(training), optimizer_of(training),
                                   std::chrono::seconds(60));
  EXPECT_TRUE(executor.ok()) << executor.status().to_string();
  EXPECT_TRUE((*executor)->load(initial_reader(), false).ok());
  return std::move(*executor);
}

TEST(Executor, SnapshotIsNotChangedByLaterStepsAndOutlivesTheExecutor) {
  auto self = cluster::make_self_communicator();
  auto executor = alone(self.get(), {});
  const auto batches = toy_batches(1, 4);
  const auto local = local_part(batches, 0, 1);
  ASSERT_TRUE(executor->train_step(local, step_input(1)).ok());
  const Snapshot held = executor->snapshot();
  State before, after, later;
  add_to(before, held);
  for (int s = 2; s < 5; ++s) ASSERT_TRUE(executor->train_step(local, step_input(s)).ok());
  add_to(later, executor->snapshot());
  executor.reset();
  add_to(after, held);
  EXPECT_TRUE(same_bits(before, after));
  EXPECT_FALSE(same_bits(before, later));
  EXPECT_EQ(before.size(), 3u * 7) << "three kinds of each trainable tensor, and nothing of frozen ones";
}

TEST(Executor, MemoryDoesNotGrowOverSteps) {
  for (int world : {1, 2}) {
    auto communicators = cluster::make_thread_communicators(world);
    const auto batches = toy_batches(1, 4);
    on_ranks(world, [&](int rank) {
      Training training{.world_size = world, .recompute_every = 1};
      auto executor = alone(communicators[rank].get(), training);
      const auto local = local_part(batches, rank, world);
      int64_t settled = 0;
      for (int s = 1; s <= 200; ++s) {
        ASSERT_TRUE(executor->train_step(local, step_input(s)).ok());
        const Snapshot dropped = executor->snapshot();
        if (s == 3) settled = executor->buffer_bytes();
        if (s > 3) {
          ASSERT_EQ(executor->buffer_bytes(), settled) << "step " << s;
        }
      }
    });
  }
}

// Passes everything on until call `fails_at`, which fails as a lost peer would.
class FailingCommunicator : public cluster::Communicator {
 public:
  FailingCommunicator(cluster::Communicator* inner, int fails_at) : inner_(inner), left_(fails_at) {}
  int rank() const override { return inner_->rank(); }
  int world_size() const override { return inner_->world_size(); }
  Status all_gather(cluster::ConstBuffer shard, cluster::Buffer full, Deadline deadline) override {
    return left_-- == 0 ? failure() : inner_->all_gather(shard, full, deadline);
  }
  Status reduce_scatter_tree(cluster::Buffer full, cluster::Buffer shard, Deadline deadline) override {
    return left_-- == 0 ? failure() : inner_->reduce_scatter_tree(full, shard, deadline);
  }
  Status reduce_scatter_fast(cluster::Buffer full, cluster::Buffer shard, Deadline deadline) override {
    return left_-- == 0 ? failure() : inner_->reduce_scatter_fast(full, shard, deadline);
  }
  Result<std::unique_ptr<Communicator>> split(int group, Deadline deadline) override {
    return left_-- == 0 ? failure() : inner_->split(group, deadline);
  }
  Status broadcast(cluster::Buffer data, int root, Deadline deadline) override {
    return inner_->broadcast(data, root, deadline);
  }
  Status barrier(Deadline deadline) override { return inner_->barrier(deadline); }
  Status probe() override { return inner_->probe(); }
  void abort(const Status& reason) override { inner_->abort(reason); }
  static Status failure() { return Status(Code::kPeerLost, "the wire was cut"); }

 private:
  cluster::Communicator* inner_;
  int left_;
};

// Fails each collective of a step in turn; returns how many there are.
int fail_each_collective(const Training& training) {
  const auto batches = toy_batches(1, 2);
  bool finished = false;
  int failures = 0;
  for (int n = 0; !finished; ++n) {
    if (n == 100) {
      ADD_FAILURE() << "the step never got by without a failure";
      break;
    }
    auto communicators = cluster::make_thread_communicators(2);
    on_ranks(2, [&](int rank) {
      FailingCommunicator failing(communicators[rank].get(), rank == 1 ? n : -1);
      auto executor = alone(&failing, training);
      const auto stats = executor->train_step(local_part(batches, rank, 2), step_input(1));
      if (rank == 1) {
        finished = stats.ok();
        failures += stats.ok() ? 0 : 1;
      }
      if (stats.ok()) return;
      EXPECT_EQ(stats.status().code(), Code::kPeerLost) << "rank " << rank << ": " << stats.status().to_string();
      // It stays failed, and at once.
      EXPECT_EQ(executor->evaluate(local_part(batches, rank, 2)).status().message(), stats.status().message());
      EXPECT_NE(executor->progress().phase.load(), 0) << "the flight record is kept";
    });
  }
  return failures;
}

TEST(Executor, EveryFailingCollectiveEndsTheStepOnAllRanks) {
  Training training{.world_size = 2, .global_micro_batches = 2};
  // Gathers: 6 forward, 3 again in backward; 3 reductions; losses and counts.
  EXPECT_EQ(fail_each_collective(training), 6 + 3 + 3 + 2);
  training.prefetch = 3;
  EXPECT_EQ(fail_each_collective(training), 6 + 3 + 3 + 2);
  training.shard = ShardLevel::kOptimizer;
  EXPECT_EQ(fail_each_collective(training), 6 + 3 + 2);
  training.shard = ShardLevel::kNone;
  EXPECT_EQ(fail_each_collective(training), 2 * 3 + 2);
  training.reduction = Reduction::kFast;
  EXPECT_EQ(fail_each_collective(training), 2 * 3 + 2);
}

TEST(Executor, ARankThatThrowsNamesItsUnitAndFreesItsPeers) {
  auto communicators = cluster::make_thread_communicators(2);
  auto batches = toy_batches(1, 2);
  batches[1]->x_BD = batches[1]->x_BD.slice(1, 0, 7);  // the wrong width, on rank 1 only
  on_ranks(2, [&](int rank) {
    auto executor = alone(communicators[rank].get(), {.world_size = 2, .global_micro_batches = 2});
    const auto stats = executor->train_step(local_part(batches, rank, 2), step_input(1));
    ASSERT_FALSE(stats.ok());
    if (rank == 0) {
      EXPECT_EQ(stats.status().code(), Code::kPeerLost) << stats.status().to_string();
    } else {
      EXPECT_EQ(stats.status().code(), Code::kInternal);
      EXPECT_NE(stats.status().message().find("unit front"), std::string::npos) << stats.status().message();
    }
  });
}

// Rank 3 fails; ranks 0 and 1, of the other copy, wait for it in the sum over copies, or for rank 2, which waits for it.
TEST(Executor, AFailureReachesEveryGroup) {
  for (const int group_ranks : {0, 2}) {
    auto communicators = cluster::make_thread_communicators(4);
    auto batches = toy_batches(1, 4);
    batches[3]->x_BD = batches[3]->x_BD.slice(1, 0, 7);
    on_ranks(4, [&](int rank) {
      auto executor = alone(communicators[rank].get(), {.world_size = 4, .group_ranks = group_ranks});
      const auto stats = executor->train_step(local_part(batches, rank, 4), step_input(1));
      ASSERT_FALSE(stats.ok());
      EXPECT_EQ(stats.status().code(), rank == 3 ? Code::kInternal : Code::kPeerLost) << stats.status().to_string();
    });
  }
}

TEST(Executor, RefusesArgumentsThatDoNotFit) {
  auto self = cluster::make_self_communicator();
  const auto code = [&](std::vector<UnitSpec> units, size_t modules, const Policy& policy) {
    std::vector<std::unique_ptr<UnitModule>> chain = toy_modules();
    chain.resize(modules);
    return Executor::create(std::move(units), std::move(chain), self.get(), policy, {}, std::chrono::seconds(1))
        .status()
        .code();
  };
  EXPECT_EQ(code(toy_units(), 6, {}), Code::kOk);
  EXPECT_EQ(code(toy_units(), 5, {}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.world_size = 2}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.world_size = 3}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.micro_batches = 0}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.recompute_every = -1}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.prefetch = -1}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.group_ranks = 2}), Code::kInvalidArgument);
  EXPECT_EQ(code(toy_units(), 6, {.moments = 1}), Code::kInvalidArgument);
  std::vector<UnitSpec> bare = toy_units();
  bare[1].flat_numel = 0;
  EXPECT_EQ(code(bare, 6, {}), Code::kInvalidArgument);

  auto executor = alone(self.get(), {});
  const auto batches = toy_batches(1, 4);
  EXPECT_EQ(executor->train_step({}, step_input(1)).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(executor->train_step({nullptr, nullptr, nullptr, nullptr}, step_input(1)).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(executor->train_step(local_part(batches, 0, 1), {}).status().code(), Code::kInvalidArgument);
  EXPECT_TRUE(executor->train_step(local_part(batches, 0, 1), step_input(1)).ok()) << "a refused call leaves no trace";
}

TEST(Executor, LoadReturnsTheReadersFailure) {
  auto self = cluster::make_self_communicator();
  auto executor = alone(self.get(), {});
  const Status status = executor->load([](const std::string& tensor, StateKind, int64_t, int64_t,
                                          float*) { return Status(Code::kCorruption, tensor + " is torn"); },
                                       true);
  EXPECT_EQ(status.code(), Code::kCorruption);
}

}  // namespace
}  // namespace tephra::sharding::test
