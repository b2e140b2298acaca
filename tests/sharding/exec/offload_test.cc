// Moments and parameters in host memory: what that takes off a process's anonymous memory, by /proc/self/status, and what is said when
// there is no room for them. That bits stay equal is shown by the tests that go through for_strategies().
#include <malloc.h>

#include <cstdlib>
#include <fstream>
#include <limits>

#include "sharding/exec/host_memory.h"
#include "sharding/exec/shard_store.h"
#include "tests/sharding/exec/chain.h"

namespace tephra::sharding::test {
namespace {

constexpr int64_t kMiB = 1 << 20;

int64_t resident_bytes(const std::string& kind) {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    int64_t kilobytes = 0;
    if (name == kind + ":" && status >> kilobytes) return kilobytes * 1024;
  }
  ADD_FAILURE() << "/proc/self/status has no " << kind;
  return 0;
}

TEST(HostMemory, IsNoAnonymousMemoryAndKeepsWhatWasWritten) {
  const int64_t before = resident_bytes("RssAnon"), file_before = resident_bytes("RssFile");
  HostMemory memory(64 * kMiB / 4);
  for (int64_t i = 0; i < memory.count(); i += 1000) EXPECT_EQ(memory.data()[i], 0);
  for (int64_t i = 0; i < memory.count(); ++i) memory.data()[i] = static_cast<float>(i);
  EXPECT_LT(resident_bytes("RssAnon") - before, 4 * kMiB);
  memory.release_pages();
  EXPECT_LT(resident_bytes("RssFile") - file_before, 4 * kMiB);
  for (int64_t i = 0; i < memory.count(); i += 1000) EXPECT_EQ(memory.data()[i], static_cast<float>(i));
}

// Anonymous bytes that a store of eight units of 4 MiB takes after two steps with a snapshot held in each.
int64_t anonymous_bytes(Offload offload) {
  std::vector<UnitSpec> units;
  for (int u = 0; u < 8; ++u) {
    units.push_back({.name = "u" + std::to_string(u), .group = "llm", .trainable = true});
    units.back().tensors.push_back({"w" + std::to_string(u), {kMiB}});
  }
  layout(units);
  BlockPool gradient_pool;
  std::vector<Block> gradients;
  for (const UnitSpec& unit : units) {
    gradients.push_back(gradient_pool.acquire(unit.flat_numel));
    gradients.back().fill_zero();
  }
  ::malloc_trim(0);  // freed memory of what ran before, which the allocator would give out again, is not to be counted
  const int64_t before = resident_bytes("RssAnon");
  BlockPool pool;
  ShardStore store(&units, Holding{}, 2, offload, &pool);
  Block working;
  if (offload != Offload::kNone) working = pool.acquire(store.working_count(0));
  Snapshot held;
  for (int step = 1; step <= 2; ++step) {
    const StepInput input{.learning_rate = std::vector<double>(units.size(), 0.1), .optimizer_step = step};
    if (offload != Offload::kNone) {
      store.begin_update();
      for (int u = 0; u < std::ssize(units); ++u) {
        store.fetch(u, working.data());
        store.update_unit(u, {}, input, 1, gradients[u], working.data());
        store.store(u, working.data());
      }
      store.end_update();
    } else {
      store.update({}, input, 1, gradients);
    }
    held = store.snapshot();
  }
  return resident_bytes("RssAnon") - before;
}

TEST(Offload, TakesItsPartOffAnonymousMemory) {
  // Two sets, the held snapshot's included: parameters and two moments each, or one working buffer for what is offloaded.
  const std::pair<Offload, int64_t> units_held[] = {
      {Offload::kNone, 2 * 3 * 8}, {Offload::kOptimizer, 2 * 8 + 2}, {Offload::kParameters, 3}};
  for (const auto& [offload, units] : units_held) {
    const auto expected = static_cast<double>(units * 4 * kMiB);
    EXPECT_NEAR(static_cast<double>(anonymous_bytes(offload)), expected, 0.1 * expected)
        << "offload " << static_cast<int>(offload);
  }
}

// What follows the step in the schedule is not run then: moments and parameters stay, and the step after it goes on.
TEST(Offload, IsNotTouchedByASkippedStepAndGoesOn) {
  const auto poison = [](int step, std::vector<std::unique_ptr<ToyBatch>>& batches) {
    if (step == 2) batches[3]->x_BD.mutable_data_ptr<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  };
  for (const int steps : {2, 3}) {
    const Trained kept = train({.world_size = 2, .steps = steps}, initial_reader(), false, poison);
    for (const Offload offload : {Offload::kOptimizer, Offload::kParameters}) {
      const Trained offloaded =
          train({.world_size = 2, .steps = steps, .offload = offload}, initial_reader(), false, poison);
      ASSERT_EQ(std::ssize(offloaded.stats), steps);
      EXPECT_TRUE(offloaded.stats[1].skipped);
      EXPECT_FALSE(offloaded.stats.back().skipped && steps == 3);
      EXPECT_TRUE(same_bits(offloaded.state, kept.state)) << steps << " steps";
    }
  }
  const Trained before = train({.world_size = 2, .steps = 1}, initial_reader(), false),
                skipped = train({.world_size = 2, .steps = 2, .offload = Offload::kOptimizer}, initial_reader(), false,
                                poison);
  EXPECT_TRUE(same_bits(skipped.state, before.state));
}

TEST(Offload, OfParametersWantsThemSharded) {
  auto communicators = cluster::make_thread_communicators(1);
  const Training training{.shard = ShardLevel::kGradients, .offload = Offload::kParameters};
  const auto executor = Executor::create(toy_units(), toy_modules(), communicators[0].get(), policy_of(training), {},
                                         std::chrono::seconds(60));
  ASSERT_FALSE(executor.ok());
  EXPECT_EQ(executor.status().message(),
            "parameters are offloaded with shard parameters only, and the policy's is gradients");
}

TEST(Offload, WithoutAFolderForItIsRefusedWithTheCause) {
  const char* set = std::getenv("TMPDIR");
  const std::string before = set != nullptr ? set : "";
  ::setenv("TMPDIR", "/nonexistent-folder", 1);
  auto communicators = cluster::make_thread_communicators(1);
  const Training training{.offload = Offload::kOptimizer};
  const auto executor = Executor::create(toy_units(), toy_modules(), communicators[0].get(), policy_of(training), {},
                                         std::chrono::seconds(60));
  if (set != nullptr) {
    ::setenv("TMPDIR", before.c_str(), 1);
  } else {
    ::unsetenv("TMPDIR");
  }
  ASSERT_FALSE(executor.ok());
  EXPECT_NE(executor.status().to_string().find("/nonexistent-folder: No such file or directory; set TMPDIR"),
            std::string::npos)
      << executor.status().to_string();
}

}  // namespace
}  // namespace tephra::sharding::test
