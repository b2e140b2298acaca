// The memory that a plan tells is what training takes: LibTorch's own allocations (activations, autograd's gradients) are
// counted by an allocator of ours, shards, gathered units and gradient sums by the executor; their peak is within a
// tenth of the plan's, for several schedules, and does not grow over a thousand steps.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <set>

#include "base/random.h"
#include "base/text.h"
#include "cluster/communicator.h"
#include "model/nn/batch.h"
#include "model/nn/units.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"
#include "sharding/exec/executor.h"

namespace tephra::worker {
namespace {

std::atomic<int64_t> held_bytes{0}, peak_bytes{0};

void release(void* data) {
  held_bytes -= static_cast<int64_t>(malloc_usable_size(data));
  std::free(data);
}

class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = nullptr;
    if (bytes > 0 && posix_memalign(&data, 64, bytes) != 0) throw std::bad_alloc();
    if (data == nullptr) return {nullptr, c10::Device(c10::DeviceType::CPU)};
    const int64_t held = held_bytes += static_cast<int64_t>(malloc_usable_size(data));
    int64_t peak = peak_bytes;
    while (held > peak && !peak_bytes.compare_exchange_weak(peak, held)) {
    }
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t count) const override { default_copy_data(to, from, count); }
};

// While it lives, tensors come from the counting allocator; those that outlive it free themselves all the same.
class Counted {
 public:
  Counted() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(&counting_, kPriority); }
  ~Counted() { c10::SetCPUAllocator(before_, kPriority); }

 private:
  static constexpr uint8_t kPriority = 255;
  static CountingAllocator counting_;
  c10::Allocator* const before_;
};
CountingAllocator Counted::counting_;

model::ModelConfig config_of() {
  model::ModelConfig c;
  c.vision.hidden_size = 96, c.vision.intermediate_size = 192, c.vision.num_layers = 3, c.vision.num_heads = 3;
  c.vision.image_size = 48, c.vision.patch_size = 12;
  c.text.hidden_size = 128, c.text.intermediate_size = 344, c.text.num_layers = 6;
  c.text.num_heads = c.text.num_kv_heads = 4, c.text.head_dim = 32, c.text.vocab_size = 900;
  c.connector = {"mlp2x_gelu", 96, 128};
  c.image_token_index = 900;
  return c;
}

constexpr int64_t kSamples = 4;

model::LlavaBatch batch_of(const model::ModelConfig& config, int64_t tokens, uint64_t seed) {
  static const std::vector<float> pixels(3 * 48 * 48, 0.5f);
  std::vector<model::TokenizedSample> samples(kSamples);
  for (uint64_t s = 0; s < samples.size(); ++s) {
    for (int64_t t = 0; t < tokens - config.tokens_per_image(); ++t)
      samples[s].ids.push_back(static_cast<int32_t>(random_below(900, {seed, s, static_cast<uint64_t>(t)})));
    samples[s].labels = samples[s].ids;
    samples[s].ids.insert(samples[s].ids.begin() + 1, model::kImageToken);
    samples[s].labels.insert(samples[s].labels.begin() + 1, model::kIgnoreLabel);
    samples[s].images = {pixels.data()};
  }
  auto batch = model::make_batch(samples, config, tokens);
  EXPECT_TRUE(batch.ok()) << batch.status().message();
  return std::move(batch).value();
}

struct Case {
  std::set<std::string> train;
  sharding::Policy policy;
  int64_t tokens = 256;  // of a sample
};

class Training {
 public:
  explicit Training(const Case& c)
      : config_(config_of()), units_(model::make_units(config_, c.train)), policy_(c.policy), tokens_(c.tokens) {
    at::set_num_threads(1);
    for (int m = 0; m < policy_.micro_batches; ++m)
      batches_.push_back(batch_of(config_, tokens_, static_cast<uint64_t>(m)));
    for (const auto& batch : batches_) local_.push_back(&batch);
    auto executor = sharding::Executor::create(units_, model::make_modules(config_), communicator_.get(), policy_, {},
                                               std::chrono::seconds(60));
    EXPECT_TRUE(executor.ok()) << executor.status().message();
    executor_ = std::move(executor).value();
    const auto read = [this](const std::string& name, sharding::StateKind, int64_t begin, int64_t count, float* out) {
      for (const auto& unit : units_)
        for (const auto& tensor : unit.tensors)
          if (tensor.name == name) model::init_tensor(name, tensor.shape, 1, begin, count, out);
      return ok_status();
    };
    EXPECT_TRUE(executor_->load(read, false).ok());
    input_.learning_rate.assign(units_.size(), 1e-4);
  }

  // Holds a snapshot meanwhile, as a checkpoint being written does.
  void step() {
    ASSERT_TRUE(executor_->train_step(local_, input_).ok());
    ++input_.optimizer_step;
    snapshot_ = executor_->snapshot();
  }

  sharding::MemoryEstimate planned() const {
    const sharding::MicroBatchSize size{
        .tokens = kSamples * tokens_, .image_tokens = kSamples * config_.tokens_per_image(), .length = tokens_};
    return sharding::estimate(sharding::make_schedule(units_, policy_), units_, policy_, size).memory;
  }
  const sharding::Executor& executor() const { return *executor_; }

 private:
  const model::ModelConfig config_;
  const std::vector<sharding::UnitSpec> units_;
  const sharding::Policy policy_;
  const int64_t tokens_;
  std::unique_ptr<cluster::Communicator> communicator_ = cluster::make_self_communicator();
  std::vector<model::LlavaBatch> batches_;
  std::vector<const sharding::MicroBatch*> local_;
  std::unique_ptr<sharding::Executor> executor_;
  sharding::StepInput input_;
  sharding::Snapshot snapshot_;
};

std::string name_of(const Case& c) {
  std::string name;
  for (const std::string& group : c.train) name += group + " ";
  return name + "learn, " + to_string(c.policy);
}

TEST(PlanMemory, IsWithinATenthOfWhatTrainingTakes) {
  const Counted counted;
  for (const auto& train : {std::set<std::string>{"connector"}, std::set<std::string>{"connector", "llm"}})
    for (const int recompute : {0, 1, 2})
      for (const int micro_batches : {1, 2}) {
        const Case c{train, {.micro_batches = micro_batches, .recompute_every = recompute}};
        SCOPED_TRACE(name_of(c));
        Training training(c);
        training.step();
        const int64_t before = held_bytes;
        peak_bytes = before;
        training.step();
        const sharding::MemoryEstimate planned = training.planned();
        const auto measured = static_cast<double>(peak_bytes - before + training.executor().held_peaks().total);
        const auto plan = static_cast<double>(planned.total());
        std::printf("%-90s measured %s (LibTorch %s), planned %s (activations %s): %+.1f %%\n", name_of(c).c_str(),
                    human_bytes(measured).c_str(), human_bytes(static_cast<double>(peak_bytes - before)).c_str(),
                    human_bytes(plan).c_str(), human_bytes(static_cast<double>(planned.activation_peak)).c_str(),
                    100 * (plan / measured - 1));
        EXPECT_NEAR(plan, measured, 0.1 * measured);
      }
}

TEST(PlanMemory, DoesNotGrowOverAThousandSteps) {
  const Counted counted;
  Training training({{"connector"}, {.micro_batches = 1, .recompute_every = 1}, 24});
  for (int s = 0; s < 3; ++s) training.step();
  const int64_t held = held_bytes, buffers = training.executor().buffer_bytes();
  peak_bytes = held;
  training.step();
  const int64_t peak = peak_bytes;
  for (int s = 0; s < 1000; ++s) training.step();
  EXPECT_EQ(held_bytes, held);
  constexpr int64_t kRounding = 4096;  // of malloc, which rounds a size up now so, now so
  EXPECT_LE(peak_bytes, peak + kRounding);
  EXPECT_EQ(training.executor().buffer_bytes(), buffers);
}

}  // namespace
}  // namespace tephra::worker
