// The memory that a plan tells is what training takes: LibTorch's own allocations (activations, autograd's gradients) are
// counted by an allocator of ours, shards, gathered units and gradient sums by the executor; their peak is within a
// tenth of the plan's, for several schedules, and does not grow over a thousand steps.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>

#include "base/text.h"
#include "tests/worker/memory_training.h"

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

std::vector<Case> schedules() {
  std::vector<Case> out;
  for (const auto& train : {std::set<std::string>{"connector"}, std::set<std::string>{"connector", "llm"}})
    for (const int recompute : {0, 1, 2})
      for (const int micro_batches : {1, 2})
        for (const auto offload :
             {sharding::Offload::kNone, sharding::Offload::kOptimizer, sharding::Offload::kParameters})
          out.push_back({train, {.micro_batches = micro_batches, .recompute_every = recompute, .offload = offload}});
  for (const int recompute : {0, 1}) {
    out.push_back({{"connector", "llm"}, {.micro_batches = 2, .recompute_every = recompute}});
    out.back().uneven = true;
  }
  return out;
}

TEST(PlanMemory, IsWithinATenthOfWhatTrainingTakes) {
  const Counted counted;
  for (const Case& c : schedules()) {
    SCOPED_TRACE(name_of(c));
    Training training(small_model(), c);
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
  Training training(small_model(), {{"connector"}, {.micro_batches = 1, .recompute_every = 1}, 24});
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
