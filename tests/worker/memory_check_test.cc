// What does not fit is refused with its numbers, and where the limit is.
#include "worker/memory_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/memory.h"

namespace tephra::worker {
namespace {

using ::testing::HasSubstr;

// Two blocks of 1.0 and 1.1 million weights, the second of which learns.
std::vector<sharding::UnitSpec> two_units() {
  std::vector<sharding::UnitSpec> units(2);
  for (int u = 0; u < 2; ++u) {
    units[u].name = "llm.block." + std::to_string(u);
    units[u].tensors.push_back({"w" + std::to_string(u), {1000000 + 100000 * u}});
    units[u].trainable = u == 1;
  }
  sharding::layout(units);
  return units;
}

TEST(CheckMemory, RefusesWhatDoesNotFitAndSaysByHowMuch) {
  const auto units = two_units();
  const sharding::Policy alone{};
  const auto planned = sharding::estimate(sharding::make_schedule(units, alone), units, alone, 1).memory;
  const int64_t needed = planned.total() - planned.activation_peak;
  // Parameters of both, two moments and a snapshot of three values, one sum of gradients.
  EXPECT_NEAR(static_cast<double>(needed), 4e6 + 4.4e6 * (1 + 5 + 1), 1e5);
  EXPECT_TRUE(check_memory("tune", units, alone, needed).ok());
  EXPECT_TRUE(check_memory("tune", units, alone, 0).ok()) << "not known";
  const Status refused = check_memory("tune", units, alone, needed - 1);
  EXPECT_EQ(refused.code(), Code::kUnavailable);
  EXPECT_EQ(refused.retry_class(), RetryClass::kNeedsOperator);
  EXPECT_THAT(refused.message(), HasSubstr("stage tune needs 34."));
  EXPECT_THAT(refused.message(), HasSubstr("its largest unit llm.block.1 has 4.4 MB"));
  EXPECT_THAT(refused.message(), HasSubstr("and this machine has 34."));
  const sharding::Policy shared{.world_size = 4};
  EXPECT_TRUE(check_memory("tune", units, shared, needed - 1).ok());
}

TEST(CheckMemory, ThisMachinesMemoryIsKnown) {
  EXPECT_GT(machine_memory_bytes(), int64_t{64} << 20);
  EXPECT_LT(machine_memory_bytes(), int64_t{1} << 50);
}

}  // namespace
}  // namespace tephra::worker
