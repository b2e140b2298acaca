// The depth that `sharding.prefetch: auto` stands for: cases worked by hand, and over random chains what any choice
// keeps: it fits, and no other depth that fits is faster by more than is worth a unit's memory.
#include "sharding/plan/prefetch.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace tephra::sharding {
namespace {

std::vector<UnitSpec> chain(size_t count, int64_t numel = 4096) {
  std::vector<UnitSpec> units;
  for (size_t u = 0; u < count; ++u) {
    UnitSpec unit{.name = "u" + std::to_string(u), .group = "llm", .trainable = true};
    unit.tensors.push_back({"w" + std::to_string(u), {numel}});
    units.push_back(unit);
  }
  layout(units);
  return units;
}

OpSeconds seconds(size_t units, double forward, double gather) {
  OpSeconds s;
  s.forward.assign(units, forward);
  s.backward.assign(units, 2 * forward);
  s.gather.assign(units, gather);
  s.reduce.assign(units, 0);
  return s;
}

constexpr MicroBatchSize kBatch{.tokens = 10};

int64_t planned(const std::vector<UnitSpec>& units, Policy policy, int depth) {
  policy.prefetch = depth;
  return estimate(make_schedule(units, policy), units, policy, kBatch).memory.total();
}

// Gathers that are shorter than the compute beside them are hidden one ahead.
TEST(ChoosePrefetch, TakesTheDepthThatHides) {
  const auto units = chain(6);
  const OpSeconds s = seconds(6, 10, 8);
  const PrefetchChoice choice = choose_prefetch(units, {.world_size = 2}, kBatch, 0, &s);
  EXPECT_EQ(choice.depth, 1);
  EXPECT_EQ(choice.reason, "8000.0 ms of 88000.0 ms of communication show; more units ahead would hide no more");
}

// Of gathers that are long where compute is short, and short where it is long, more are hidden the further ahead they go.
TEST(ChoosePrefetch, GoesDeeperWhereOneUnitsComputeIsTooShort) {
  const auto units = chain(6);
  OpSeconds s = seconds(6, 10, 4);
  s.forward = {40, 1, 1, 1, 1, 1};
  const PrefetchChoice choice = choose_prefetch(units, {.world_size = 2}, kBatch, 0, &s);
  EXPECT_GT(choice.depth, 2);
}

TEST(ChoosePrefetch, StopsWhereTheMemoryDoes) {
  const auto units = chain(6);
  OpSeconds s = seconds(6, 10, 4);
  s.forward = {40, 1, 1, 1, 1, 1};
  const Policy policy{.world_size = 2};
  const int64_t two = planned(units, policy, 2);
  ASSERT_LT(two, planned(units, policy, 3));
  const PrefetchChoice choice = choose_prefetch(units, policy, kBatch, two, &s);
  EXPECT_EQ(choice.depth, 2);
  EXPECT_NE(choice.reason.find("; 3 units ahead do not fit the memory"), std::string::npos) << choice.reason;
  EXPECT_EQ(choose_prefetch(units, policy, kBatch, planned(units, policy, 0), &s).depth, 0);
}

TEST(ChoosePrefetch, WithoutTimesIsOneWhereThatFits) {
  const auto units = chain(4);
  const Policy policy{.world_size = 2};
  EXPECT_EQ(choose_prefetch(units, policy, kBatch, 0, nullptr).depth, 1);
  const PrefetchChoice tight = choose_prefetch(units, policy, kBatch, planned(units, policy, 0), nullptr);
  EXPECT_EQ(tight.depth, 0);
  EXPECT_EQ(tight.reason, "a unit gathered ahead does not fit the memory");
}

TEST(ChoosePrefetch, IsNoneWhereNothingIsGathered) {
  const auto units = chain(4);
  const OpSeconds s = seconds(4, 1, 1);
  for (const Policy& policy : {Policy{}, Policy{.world_size = 2, .shard = ShardLevel::kNone}}) {
    const PrefetchChoice choice = choose_prefetch(units, policy, kBatch, 0, &s);
    EXPECT_EQ(choice.depth, 0);
    EXPECT_EQ(choice.reason, "nothing is gathered");
  }
}

TEST(ChoosePrefetch, FitsAndIsTheFastestThatDoes) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const size_t count = 1 + random_below(8, {seed, 1});
    const auto units = chain(count, static_cast<int64_t>(1 + random_below(30000, {seed, 2})));
    Policy policy{.world_size = 1 << random_below(3, {seed, 3}),
                  .micro_batches = static_cast<int>(1 + random_below(3, {seed, 4}))};
    if (random_below(2, {seed, 5}) == 1) policy.offload = Offload::kParameters;
    OpSeconds s = seconds(count, 0, 0);
    s.fetch.assign(count, 0), s.transfer.assign(count, 0.1);
    for (size_t u = 0; u < count; ++u) {
      s.forward[u] = random_unit({seed, 6, u});
      s.backward[u] = random_unit({seed, 7, u});
      s.gather[u] = random_unit({seed, 8, u});
      s.fetch[u] = random_unit({seed, 9, u});
    }
    const int limit_at = static_cast<int>(random_below(5, {seed, 10}));
    const int64_t limit = planned(units, policy, limit_at);
    const PrefetchChoice choice = choose_prefetch(units, policy, kBatch, limit, &s);
    ASSERT_LE(planned(units, policy, choice.depth), limit) << "seed " << seed;
    const auto total = [&](int depth) {
      policy.prefetch = depth;
      return step_time(make_schedule(units, policy), units, policy, s).total;
    };
    for (int depth = 0; depth <= limit_at; ++depth)
      ASSERT_LE(total(choice.depth), total(depth) * 1.002) << "seed " << seed << " depth " << depth;
    ASSERT_FALSE(choice.reason.empty());
  }
}

}  // namespace
}  // namespace tephra::sharding
