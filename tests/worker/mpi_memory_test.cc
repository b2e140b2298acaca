// The memory of two ranks that are processes over MPI: the resident memory of each grows by what the plan tells, within a
// tenth, for several schedules, and does not grow any more over many steps.
#include <gmock/gmock.h>
#include <malloc.h>

#include <algorithm>
#include <fstream>

#include "base/text.h"
#include "tests/cluster/under_mpirun.h"
#include "tests/worker/memory_training.h"

namespace tephra::worker {
namespace {

using sharding::ShardLevel;
using ::testing::HasSubstr;

// Anonymous memory now, and all resident memory at its peak since forget_peak(), by the kernel.
int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    int64_t kilobytes = 0;
    if (word == field + ":" && status >> kilobytes) return kilobytes * 1024;
  }
  ADD_FAILURE() << "/proc/self/status has no " << field;
  return 0;
}
void forget_peak() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << 5 << std::flush;
  ASSERT_TRUE(clear.good()) << "the kernel keeps the peak of resident memory";
}

// Large enough that what malloc and MPI round up does not count.
model::ModelConfig middling_model() {
  model::ModelConfig c = small_model();
  c.text.hidden_size = 256, c.text.intermediate_size = 688, c.text.num_layers = 8;
  c.text.num_heads = c.text.num_kv_heads = 4, c.text.head_dim = 64, c.text.vocab_size = 4000;
  c.connector = {"mlp2x_gelu", 96, 256};
  c.image_token_index = 4000;
  return c;
}

// Every large block is a map of its own, and goes back to the system when it is freed: then resident memory is what is held.
void keep_no_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 64 * 1024);
  mallopt(M_TRIM_THRESHOLD, 64 * 1024);
}

TEST(DISABLED_InsideMpi, PlanMemory) {
  auto world = cluster::mpi_test_world();
  ASSERT_NE(world, nullptr);
  keep_no_freed_memory();
  // The transport's own buffers and LibTorch's threads are there before what is measured.
  Training(small_model(), {{"connector", "llm"}, {.world_size = 2}}, world.get()).step();
  const std::set<std::string> all{"connector", "llm"};
  for (const Case& c :
       {Case{all, {.world_size = 2}}, Case{all, {.world_size = 2, .recompute_every = 1, .prefetch = 3}},
        Case{all, {.world_size = 2, .micro_batches = 2}}, Case{all, {.world_size = 2, .shard = ShardLevel::kNone}},
        Case{all, {.world_size = 2, .shard = ShardLevel::kOptimizer, .recompute_every = 2}},
        Case{all, {.world_size = 2, .shard = ShardLevel::kGradients}}, Case{{"connector"}, {.world_size = 2}},
        Case{all, {.world_size = 2, .recompute_every = 1, .offload = sharding::Offload::kOptimizer}},
        Case{all, {.world_size = 2, .recompute_every = 1, .offload = sharding::Offload::kParameters}}}) {
    SCOPED_TRACE(name_of(c));
    malloc_trim(0);
    const bool offloads = c.policy.offload != sharding::Offload::kNone;
    // Pages of offloaded state are resident while they are copied; what is promised is that they are no anonymous ones.
    const char* const now = "RssAnon";
    const int64_t before = status_bytes(now), before_all = status_bytes("VmRSS");
    forget_peak();
    Training training(middling_model(), c, world.get());
    for (int s = 0; s < 3; ++s) training.step();  // the third is the first beside a second set of state, the snapshot's
    const auto plan = static_cast<double>(training.planned().total());
    const auto peak = static_cast<double>(status_bytes("VmHWM") - before_all);
    std::printf("%-110s rank %d: measured %s, planned %s: %+.1f %%\n", name_of(c).c_str(), world->rank(),
                human_bytes(peak).c_str(), human_bytes(plan).c_str(), 100 * (plan / peak - 1));
    if (offloads) {
      // Between steps: all but activations and what is gathered.
      EXPECT_LE(static_cast<double>(status_bytes(now) - before), 1.1 * plan);
    } else {
      EXPECT_NEAR(plan, peak, 0.1 * peak);
    }
  }
  world.reset();
  cluster::mpi_finalize();
}

TEST(DISABLED_InsideMpi, PlanMemoryOverManySteps) {
  auto world = cluster::mpi_test_world();
  ASSERT_NE(world, nullptr);
  {
    Training training(small_model(), {{"connector", "llm"}, {.world_size = 2, .recompute_every = 1}, 24}, world.get());
    for (int s = 0; s < 50; ++s) training.step();
    const int64_t before = status_bytes("VmRSS");
    for (int s = 0; s < 500; ++s) training.step();
    const int64_t grown = status_bytes("VmRSS") - before;
    std::printf("500 steps: resident memory grew by %lld bytes\n", static_cast<long long>(grown));
    EXPECT_LE(grown, 3 << 20) << "6 KiB a step would be a leak";
  }
  world.reset();
  cluster::mpi_finalize();
}

TEST(MpiMemory, OfTwoProcessesIsWithinATenthOfThePlan) {
  const auto ran = cluster::under_mpirun(2, "DISABLED_InsideMpi.PlanMemory", "");
  std::printf("%s", ran.output.c_str());
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.output, HasSubstr("[  PASSED  ] 1 test"));
}

TEST(MpiMemory, DoesNotGrowOverManySteps) {
  const auto ran = cluster::under_mpirun(2, "DISABLED_InsideMpi.PlanMemoryOverManySteps", "");
  EXPECT_EQ(ran.code, 0) << ran.output;
  EXPECT_THAT(ran.output, HasSubstr("[  PASSED  ] 1 test"));
}

}  // namespace
}  // namespace tephra::worker
