// What the fixed order of sums over ranks costs: training steps of a LLaMA (width 256, 6 layers, vocabulary 8000; 9 million weights,
// random) with reduction: tree and with reduction: fast, taking turns step by step in one run. A step is one micro-batch of 4 texts of 64 tokens a
// rank, every parameter learns, and each rank computes with one thread.
// Run: mpirun --bind-to none -n 2 build/bin/reduction_bench. Medians of 20 steps of each after 3; one JSON line.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "base/random.h"
#include "cluster/mpi/mpi_communicator.h"
#include "model/nn/batch.h"
#include "model/nn/units.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"

namespace {

using namespace tephra;

constexpr int kWarmUp = 3, kSteps = 20, kRows = 4, kTokens = 64;

model::LlamaConfig shape() {
  model::LlamaConfig c;
  c.hidden_size = 256, c.intermediate_size = 688, c.num_layers = 6, c.num_heads = 8, c.num_kv_heads = 8;
  c.head_dim = 32, c.vocab_size = 8000, c.max_position_embeddings = kTokens;
  return c;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Result<model::LlavaBatch> texts(const model::LlamaConfig& config, int rank) {
  std::vector<model::TokenizedSample> samples(kRows);
  for (uint64_t row = 0; row < kRows; ++row) {
    for (uint64_t t = 0; t < kTokens; ++t)
      samples[row].ids.push_back(static_cast<int32_t>(
          random_below(static_cast<uint64_t>(config.vocab_size), {static_cast<uint64_t>(rank), row, t})));
    samples[row].labels = samples[row].ids;
  }
  model::ModelConfig whole;
  whole.text = config;
  return model::make_batch(samples, whole, kTokens);
}

struct Trainer {
  std::unique_ptr<sharding::Executor> executor;
  std::vector<double> ms;
};

Result<Trainer> make_trainer(const std::vector<sharding::UnitSpec>& units, cluster::Communicator* communicator,
                             sharding::Reduction reduction) {
  const sharding::Policy policy{
      .world_size = communicator->world_size(), .shard = sharding::ShardLevel::kGradients, .reduction = reduction};
  TEPHRA_ASSIGN_OR_RETURN(auto executor,
                          sharding::Executor::create(units, model::make_lm_modules(shape()), communicator, policy, {},
                                                     std::chrono::seconds(60)));
  const auto initial = [&](const std::string& tensor, sharding::StateKind, int64_t begin, int64_t count, float* out) {
    for (const auto& unit : units)
      for (const auto& spec : unit.tensors)
        if (spec.name == tensor) model::init_tensor(tensor, spec.shape, 1, begin, count, out);
    return ok_status();
  };
  TEPHRA_RETURN_IF_ERROR(executor->load(initial, false));
  return Trainer{std::move(executor), {}};
}

Status run(cluster::Communicator& communicator) {
  at::set_num_threads(1);
  const auto units = model::make_lm_units(shape(), {"llm"}, {});
  TEPHRA_ASSIGN_OR_RETURN(const model::LlavaBatch batch, texts(shape(), communicator.rank()));
  std::vector<Trainer> trainers;
  for (const auto reduction : {sharding::Reduction::kTree, sharding::Reduction::kFast}) {
    TEPHRA_ASSIGN_OR_RETURN(Trainer trainer, make_trainer(units, &communicator, reduction));
    trainers.push_back(std::move(trainer));
  }
  sharding::StepInput input;
  input.learning_rate.assign(units.size(), 1e-4);
  for (int step = 1; step <= kWarmUp + kSteps; ++step) {
    input.optimizer_step = step;
    for (Trainer& trainer : trainers) {
      TEPHRA_RETURN_IF_ERROR(communicator.barrier(Deadline::after(std::chrono::seconds(60))));
      const auto start = std::chrono::steady_clock::now();
      TEPHRA_RETURN_IF_ERROR(trainer.executor->train_step({&batch}, input).status());
      const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
      if (step > kWarmUp) trainer.ms.push_back(took.count());
    }
  }
  int64_t reduced = 0;
  for (const auto& unit : units) reduced += unit.flat_numel * static_cast<int64_t>(sizeof(float));
  const double tree = median(trainers[0].ms), fast = median(trainers[1].ms);
  if (communicator.rank() == 0)
    std::printf(
        "{\"bench\": \"reduction\", \"ranks\": %d, \"gradient_bytes\": %lld, \"step_tree_ms\": %.2f, \"step_fast_ms\": %.2f, "
        "\"tree_over_fast\": %.3f}\n",
        communicator.world_size(), static_cast<long long>(reduced), tree, fast, tree / fast);
  return ok_status();
}

}  // namespace

int main() {
  if (!cluster::mpi_init().ok()) return 3;
  Status status;
  {
    auto communicator = cluster::make_mpi_communicator();
    status = communicator.ok() ? run(**communicator) : communicator.status();
  }
  if (!status.ok()) std::fprintf(stderr, "reduction_bench: %s\n", status.message().c_str());
  cluster::mpi_finalize();
  return status.ok() ? 0 : 1;
}
