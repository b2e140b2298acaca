#include "tests/sharding/exec/chain.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <bit>
#include <cstring>
#include <limits>
#include <mutex>
#include <thread>

#include "base/random.h"

namespace tephra::sharding::test {
namespace {

constexpr int64_t kRows = 5;
constexpr int64_t kWidth = 40;
constexpr int64_t kLabels = 17;

using Parameters = std::vector<at::Tensor>;

// A module from a function.
class Toy : public UnitModule {
 public:
  using Function = std::function<Activations(const Parameters&, const Activations&, const ToyBatch&)>;
  explicit Toy(Function function) : function_(std::move(function)) {}
  Activations forward(const Parameters& parameters, const Activations& inputs, const MicroBatch& batch) override {
    return function_(parameters, inputs, static_cast<const ToyBatch&>(batch));
  }

 private:
  Function function_;
};

at::Tensor filled(at::IntArrayRef shape, uint64_t key, double scale) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* data = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i)
    data[i] = static_cast<float>(scale * random_normal({key, static_cast<uint64_t>(i)}));
  return tensor;
}

}  // namespace

std::vector<UnitSpec> toy_units() {
  const auto unit = [](const std::string& name, const std::string& group, bool trainable, std::vector<Shape> shapes) {
    UnitSpec spec{.name = name, .group = group, .trainable = trainable};
    for (Shape& shape : shapes)
      spec.tensors.push_back({name + "." + std::to_string(spec.tensors.size()), std::move(shape)});
    return spec;
  };
  std::vector<UnitSpec> units{unit("front", "vision", false, {{kWidth, kWidth}, {kWidth}}),
                              unit("tower", "vision", false, {{kWidth, kWidth}}),
                              unit("connector", "connector", true, {{kWidth, 120}, {120}, {120, kWidth}}),
                              unit("block", "llm", true, {{kWidth, kWidth}, {kWidth}}),
                              unit("middle", "llm", false, {{kWidth, kWidth}}),
                              unit("head", "llm", true, {{kWidth, kLabels}, {1}})};
  layout(units);
  return units;
}

std::vector<std::unique_ptr<UnitModule>> toy_modules() {
  std::vector<std::unique_ptr<UnitModule>> modules;
  const auto add = [&modules](Toy::Function function) {
    modules.push_back(std::make_unique<Toy>(std::move(function)));
  };
  add([](const Parameters& p, const Activations&, const ToyBatch& batch) {
    return Activations{(batch.x_BD.matmul(p[0]) + p[1]).tanh(), batch.labels_B1, at::Tensor()};
  });
  add([](const Parameters& p, const Activations& in, const ToyBatch&) {
    return Activations{in[0].matmul(p[0]).tanh(), in[1], in[2]};
  });
  add([](const Parameters& p, const Activations& in, const ToyBatch& batch) {
    if (!batch.picture) return in;
    const at::Tensor hidden = in[0].matmul(p[0]) + p[1];
    return Activations{in[0] + (hidden * hidden.sigmoid()).matmul(p[2]), in[1], in[2]};
  });
  add([](const Parameters& p, const Activations& in, const ToyBatch& batch) {
    return Activations{in[0] * p[1] + in[0].matmul(p[0]).tanh(), in[1], batch.x_BD.cos()};
  });
  add([](const Parameters& p, const Activations& in, const ToyBatch&) {
    EXPECT_FALSE(in[2].requires_grad());
    return Activations{in[0].matmul(p[0]) + in[2], in[1]};
  });
  add([](const Parameters& p, const Activations& in, const ToyBatch&) {
    const at::Tensor logits = in[0].matmul(p[0]) * p[1];
    return Activations{logits.log_softmax(1).gather(1, in[1]).neg().sum()};
  });
  return modules;
}

std::vector<std::unique_ptr<ToyBatch>> toy_batches(int step, int count) {
  std::vector<std::unique_ptr<ToyBatch>> batches;
  for (int m = 0; m < count; ++m) {
    auto batch = std::make_unique<ToyBatch>();
    const uint64_t key = static_cast<uint64_t>(step) * 1000 + m;
    const int64_t rows = kRows + m % 3;
    batch->x_BD = filled({rows, kWidth}, key, 1.0);
    batch->labels_B1 = at::empty({rows, 1}, at::kLong);
    for (int64_t i = 0; i < rows; ++i) {
      batch->labels_B1.mutable_data_ptr<int64_t>()[i] =
          static_cast<int64_t>(random_below(kLabels, {key, 7, static_cast<uint64_t>(i)}));
    }
    batch->picture = m % 3 != 2;
    batch->loss_tokens = rows;
    batch->tokens = 2 * rows;
    batches.push_back(std::move(batch));
  }
  return batches;
}

float initial_value(const std::string& tensor, int64_t index) {
  return static_cast<float>(0.2 * random_normal({key_of(tensor), static_cast<uint64_t>(index)}) +
                            (tensor == "head.1" ? 1 : 0));
}

Executor::Reader initial_reader() {
  return [](const std::string& tensor, StateKind kind, int64_t begin, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i)
      out[i] = kind == StateKind::kParameter ? initial_value(tensor, begin + i) : 0.0f;
    return ok_status();
  };
}

Executor::Reader reader_of(const State& state) {
  return [&state](const std::string& tensor, StateKind kind, int64_t begin, int64_t count, float* out) {
    const auto found = state.find({tensor, kind});
    if (found == state.end()) return initial_reader()(tensor, kind, begin, count, out);
    std::copy_n(found->second.begin() + begin, count, out);
    return ok_status();
  };
}

void add_to(State& state, const Snapshot& snapshot) {
  for (const StatePiece& piece : snapshot.pieces) {
    std::vector<float>& whole = state[{piece.tensor, piece.kind}];
    whole.resize(numel(piece.shape), std::numeric_limits<float>::quiet_NaN());
    std::copy(piece.values.begin(), piece.values.end(), whole.begin() + piece.begin);
  }
}

bool same_bits(const State& a, const State& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, values] : a) {
    const auto other = b.find(key);
    if (other == b.end() || other->second.size() != values.size() ||
        std::memcmp(other->second.data(), values.data(), values.size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

void expect_same(const Trained& a, const Trained& b) {
  ASSERT_EQ(a.stats.size(), b.stats.size());
  for (size_t s = 0; s < a.stats.size(); ++s) {
    EXPECT_EQ(a.stats[s].loss, b.stats[s].loss) << "step " << s;
    EXPECT_EQ(a.stats[s].gradient_norm, b.stats[s].gradient_norm) << "step " << s;
    EXPECT_EQ(a.stats[s].loss_tokens, b.stats[s].loss_tokens);
    EXPECT_EQ(a.stats[s].tokens, b.stats[s].tokens);
    EXPECT_EQ(a.stats[s].skipped, b.stats[s].skipped);
    EXPECT_EQ(a.stats[s].micro_batch_losses, b.stats[s].micro_batch_losses);
  }
  EXPECT_EQ(a.evaluation, b.evaluation);
  EXPECT_TRUE(same_bits(a.state, b.state));
}

void for_strategies(const std::function<void(Training)>& each) {
  for (const ShardLevel shard : kLevels) {
    for (const int recompute_every : {0, 1, 2}) {
      Training offloaded{.shard = shard, .recompute_every = recompute_every, .offload = Offload::kOptimizer};
      each(offloaded);
      offloaded.group_ranks = 2;
      if (shard != ShardLevel::kNone) each(offloaded);
      if (shard == ShardLevel::kParameters) {
        offloaded.offload = Offload::kParameters;
        each(offloaded);
        offloaded.group_ranks = 0;
        for (const int prefetch : {0, 1, 2, 9}) {
          for (const bool reshard : {true, false}) {
            offloaded.prefetch = prefetch;
            offloaded.reshard_after_forward = reshard;
            each(offloaded);
          }
        }
      }
      for (const int prefetch : {0, 1, 2, 9}) {
        if (shard == ShardLevel::kNone && prefetch != 1) continue;  // nothing is gathered
        for (const bool reshard : {true, false}) {
          if (shard != ShardLevel::kParameters && !reshard) continue;  // nothing is freed
          each(Training{.shard = shard,
                        .reshard_after_forward = reshard,
                        .recompute_every = recompute_every,
                        .prefetch = prefetch});
        }
        // Hybrid: what is sharded is so within pairs; needs more than one pair to differ.
        if (shard == ShardLevel::kNone || prefetch > 1) continue;
        each(Training{.shard = shard, .recompute_every = recompute_every, .prefetch = prefetch, .group_ranks = 2});
      }
    }
  }
}

Policy policy_of(const Training& t) {
  return {.world_size = t.world_size,
          .micro_batches = t.global_micro_batches / t.world_size,
          .shard = t.shard,
          .reshard_after_forward = t.reshard_after_forward,
          .recompute_every = t.recompute_every,
          .prefetch = t.prefetch,
          .group_ranks = t.group_ranks,
          .reduction = t.reduction,
          .moments = optimizer_of(t).moments(),
          .offload = t.offload};
}

OptimizerOptions optimizer_of(const Training& t) {
  return {.kind = t.optimizer,
          .momentum = t.momentum,
          .nesterov = t.momentum != 0,
          .weight_decay = t.weight_decay,
          .clip_norm = t.clip_norm};
}

StepInput step_input(int step) {
  return {.learning_rate = {0, 0, 0.01, 0.002 / step, 0, 0.003}, .optimizer_step = step};
}

std::vector<const MicroBatch*> local_part(const std::vector<std::unique_ptr<ToyBatch>>& all, int rank, int world_size) {
  std::vector<const MicroBatch*> local;
  const size_t count = all.size() / world_size;
  for (size_t m = rank * count; m < (rank + 1) * count; ++m) local.push_back(all[m].get());
  return local;
}

void on_ranks(int world_size, const std::function<void(int rank)>& body) {
  at::set_num_threads(1);  // for the process; each executor applies it to its own compute thread
  std::vector<std::thread> ranks;
  for (int r = 0; r < world_size; ++r) ranks.emplace_back(body, r);
  for (std::thread& rank : ranks) rank.join();
}

Trained train(const Training& training, const Executor::Reader& start, bool with_moments,
              const std::function<void(int, std::vector<std::unique_ptr<ToyBatch>>&)>& edit) {
  std::vector<std::vector<std::unique_ptr<ToyBatch>>> batches;
  for (int s = 0; s < training.steps; ++s) {
    batches.push_back(toy_batches(training.first_step + s, training.global_micro_batches));
    if (edit) edit(training.first_step + s, batches.back());
  }
  const auto evaluation = toy_batches(1000, training.global_micro_batches);
  auto communicators = cluster::make_thread_communicators(training.world_size);
  std::mutex mutex;
  Trained result;
  std::vector<Trained> ranks(training.world_size);
  on_ranks(training.world_size, [&](int rank) {
    auto executor = Executor::create(toy_units(), toy_modules(), communicators[rank].get(), policy_of(training),
                                     optimizer_of(training), std::chrono::seconds(60));
    ASSERT_TRUE(executor.ok()) << executor.status().to_string();
    const Status loaded = (*executor)->load(start, with_moments);
    ASSERT_TRUE(loaded.ok()) << loaded.to_string();
    for (int s = 0; s < training.steps; ++s) {
      auto stats = (*executor)->train_step(local_part(batches[s], rank, training.world_size),
                                           step_input(training.first_step + s));
      ASSERT_TRUE(stats.ok()) << stats.status().to_string();
      ranks[rank].stats.push_back(*stats);
    }
    auto evaluated = (*executor)->evaluate(local_part(evaluation, rank, training.world_size));
    ASSERT_TRUE(evaluated.ok()) << evaluated.status().to_string();
    ranks[rank].evaluation = evaluated->loss;
    std::lock_guard lock(mutex);
    add_to(result.state, (*executor)->snapshot());
  });
  for (const Trained& rank : ranks) {
    EXPECT_EQ(rank.evaluation, ranks[0].evaluation);
    for (size_t s = 0; s < ranks[0].stats.size() && s < rank.stats.size(); ++s) {
      const auto bits = [](double value) { return std::bit_cast<uint64_t>(value); };  // NaN equals itself
      EXPECT_EQ(bits(rank.stats[s].loss), bits(ranks[0].stats[s].loss));
      EXPECT_EQ(bits(rank.stats[s].gradient_norm), bits(ranks[0].stats[s].gradient_norm));
    }
  }
  result.stats = ranks[0].stats;
  result.evaluation = ranks[0].evaluation;
  return result;
}

}  // namespace tephra::sharding::test
