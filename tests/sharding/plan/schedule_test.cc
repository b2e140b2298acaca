// Schedules over random chains and policies: they pass their own check, no changed one does, and what an independent
// walk counts in memory stays within the estimate. Seeds are in the failure messages.
#include "sharding/plan/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/random.h"

namespace tephra::sharding {
namespace {

std::vector<UnitSpec> chain(const std::vector<bool>& trainable, const std::vector<int64_t>& sizes = {}) {
  std::vector<UnitSpec> units;
  for (size_t u = 0; u < trainable.size(); ++u) {
    UnitSpec unit{.name = "u" + std::to_string(u), .group = "llm", .trainable = trainable[u]};
    unit.tensors.push_back({"w" + std::to_string(u), {sizes.empty() ? 100 : sizes[u]}});
    unit.macs_per_token = 10;
    unit.activation_per_token = 7;
    unit.output_per_token = 2;
    units.push_back(unit);
  }
  layout(units);
  return units;
}

struct Case {
  std::vector<UnitSpec> units;
  Policy policy;
};

Case random_case(uint64_t seed) {
  std::vector<bool> trainable(1 + random_below(6, {seed, 0}));
  std::vector<int64_t> sizes(trainable.size());
  for (size_t u = 0; u < trainable.size(); ++u) {
    trainable[u] = random_below(2, {seed, 1, u}) == 1;
    sizes[u] = static_cast<int64_t>(1 + random_below(20000, {seed, 2, u}));
  }
  const Policy policy{.world_size = 1 << random_below(4, {seed, 3}),
                      .micro_batches = static_cast<int>(1 + random_below(5, {seed, 4})),
                      .shard_parameters = random_below(4, {seed, 5}) != 0,
                      .reshard_after_forward = random_below(2, {seed, 6}) == 1,
                      .recompute = random_below(2, {seed, 7}) == 1};
  return {chain(trainable, sizes), policy};
}

bool same(const Op& a, const Op& b) { return a.kind == b.kind && a.unit == b.unit && a.micro_batch == b.micro_batch; }

TEST(Schedule, IsTheListThatTheDesignDraws) {
  const auto units = chain({false, true, false});
  EXPECT_EQ(to_string(make_schedule(units, {.world_size = 2, .recompute = true}), units),
            "gather u0\nforward u0 micro_batch 0\nfree u0\n"
            "gather u1\nforward u1 micro_batch 0\nfree u1\n"
            "gather u2\nforward u2 micro_batch 0\nbackward u2 micro_batch 0\nfree u2\n"
            "gather u1\nrecompute u1 micro_batch 0\nbackward u1 micro_batch 0\nreduce_scatter u1\nfree u1\n"
            "step\n");
}

TEST(Schedule, FrozenFrontIsNeverRunBackward) {
  const auto units = chain({false, false, true, false});
  for (const Op& op : make_schedule(units, {.world_size = 2, .micro_batches = 3, .recompute = true})) {
    if (op.kind == OpKind::kBackward || op.kind == OpKind::kRecompute) {
      EXPECT_GE(op.unit, 2);
    }
  }
}

TEST(Schedule, UnshardedParametersAreGatheredOnceAndNeverFreed) {
  const auto units = chain({true, true});
  const Schedule ops = make_schedule(units, {.world_size = 2, .micro_batches = 3, .shard_parameters = false});
  EXPECT_EQ(std::count_if(ops.begin(), ops.end(), [](const Op& op) { return op.kind == OpKind::kGather; }), 2);
  EXPECT_EQ(std::count_if(ops.begin(), ops.end(), [](const Op& op) { return op.kind == OpKind::kFree; }), 0);
}

TEST(Schedule, PassesItsCheckForRandomChainsAndPolicies) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Case c = random_case(seed);
    const Status status = check_schedule(make_schedule(c.units, c.policy), c.units, c.policy);
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status.to_string();
  }
}

TEST(CheckSchedule, RejectsEveryDroppedDuplicatedOrSwappedOperation) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const Case c = random_case(seed);
    const Schedule good = make_schedule(c.units, c.policy);
    for (size_t i = 0; i < good.size(); ++i) {
      Schedule dropped = good;
      dropped.erase(dropped.begin() + i);
      EXPECT_FALSE(check_schedule(dropped, c.units, c.policy).ok()) << "seed " << seed << " dropped " << i;
      Schedule doubled = good;
      doubled.insert(doubled.begin() + i, good[i]);
      EXPECT_FALSE(check_schedule(doubled, c.units, c.policy).ok()) << "seed " << seed << " doubled " << i;
      for (size_t j = i + 1; j < good.size(); ++j) {
        if (same(good[i], good[j])) continue;
        Schedule swapped = good;
        std::swap(swapped[i], swapped[j]);
        EXPECT_FALSE(check_schedule(swapped, c.units, c.policy).ok())
            << "seed " << seed << " swapped " << i << ", " << j;
      }
    }
  }
}

TEST(CheckSchedule, NamesTheOperationAtFault) {
  const auto units = chain({true});
  const Status status = check_schedule({{OpKind::kForward, 0, 0}}, units, {});
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_EQ(status.message(), "schedule operation 0 (forward u0 micro_batch 0): the unit is not gathered");
  EXPECT_FALSE(check_schedule({{OpKind::kGather, 7, -1}}, units, {}).ok());
  EXPECT_FALSE(check_schedule({{OpKind::kFree, -1, -1}}, units, {}).ok());
}

TEST(Prefetch, NeverPassesAFreeOfTheSameUnitOrAStep) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const Case c = random_case(seed);
    const Schedule ops = make_schedule(c.units, c.policy);
    for (size_t i = 0; i < ops.size(); ++i) {
      const size_t next = prefetch_position(ops, i);
      if (next == ops.size()) continue;
      ASSERT_EQ(ops[next].kind, OpKind::kGather);
      for (size_t j = i; j < next; ++j) {
        ASSERT_NE(ops[j].unit, ops[next].unit) << "seed " << seed;
        ASSERT_NE(ops[j].kind, OpKind::kStep);
      }
    }
  }
}

TEST(Estimate, GatheredUnitsNeverExceedThePeak) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Case c = random_case(seed);
    if (c.policy.world_size == 1) continue;
    const Schedule ops = make_schedule(c.units, c.policy);
    const int64_t peak = estimate(ops, c.units, c.policy, 10).memory.gathered_peak;
    std::vector<bool> in_memory(c.units.size(), false);
    int64_t seen = 0;
    for (size_t i = 0; i < ops.size(); ++i) {
      if (ops[i].kind == OpKind::kGather) in_memory[ops[i].unit] = true;
      if (ops[i].kind == OpKind::kFree) in_memory[ops[i].unit] = false;
      int64_t bytes = 0;
      for (size_t u = 0; u < c.units.size(); ++u) bytes += in_memory[u] ? c.units[u].flat_numel * 4 : 0;
      seen = std::max(seen, bytes);
    }
    ASSERT_LE(seen, peak) << "seed " << seed;
    ASSERT_GT(peak, 0);
    if (c.policy.shard_parameters && c.policy.reshard_after_forward) {
      std::vector<int64_t> sizes;
      for (const UnitSpec& unit : c.units) sizes.push_back(unit.flat_numel * 4);
      std::sort(sizes.rbegin(), sizes.rend());
      ASSERT_LE(peak, sizes[0] + (sizes.size() > 1 ? sizes[1] : 0)) << "seed " << seed << ": one unit and the next one";
    }
  }
}

TEST(Estimate, CountsWorkAndTraffic) {
  const auto units = chain({false, true, true});
  const Policy policy{.world_size = 4, .micro_batches = 2};
  const StepEstimate e = estimate(make_schedule(units, policy), units, policy, 5);
  // Forward 3; backward of u2: both gradients; of u1: its own only. Per micro-batch, times 10 per token, 5 tokens.
  EXPECT_DOUBLE_EQ(e.macs, 2 * (3 + 2 + 1) * 10 * 5);
  EXPECT_DOUBLE_EQ(e.gathered_bytes, 2 * 4 * 4096 * 4 * 0.75);
  EXPECT_DOUBLE_EQ(e.reduced_bytes, 2 * 4096 * 4 * 0.75);
  EXPECT_EQ(e.memory.parameter_shards, 3 * 4096);
  EXPECT_EQ(e.memory.gradient_shards, 2 * 4096);
  EXPECT_EQ(e.memory.optimizer_shards, 5 * 2 * 4096);
  EXPECT_EQ(e.memory.activation_peak, 2 * 7 * 5 * 4);
  EXPECT_EQ(e.memory.gradient_peak, 3 * 4096 * 4);  // two running sums and one unit's gradients from autograd
}

TEST(Estimate, FixedActivationsAreKeptUntilTheirUnitsBackward) {
  auto units = chain({false, true, false, false});
  for (const bool recompute : {false, true}) {
    const Policy policy{.micro_batches = 2, .recompute = recompute};
    units[1].activation_fixed = 0;
    const auto without = estimate(make_schedule(units, policy), units, policy, 5).memory.activation_peak;
    units[1].activation_fixed = 1000;
    EXPECT_EQ(estimate(make_schedule(units, policy), units, policy, 5).memory.activation_peak, without + 4000);
  }
}

TEST(Estimate, RecomputationTradesWorkForActivations) {
  const auto units = chain({true, true, true, true, true, true});
  Policy policy{.world_size = 2};
  const StepEstimate kept = estimate(make_schedule(units, policy), units, policy, 8);
  policy.recompute = true;
  const StepEstimate again = estimate(make_schedule(units, policy), units, policy, 8);
  EXPECT_GT(again.macs, kept.macs);
  EXPECT_LT(again.memory.activation_peak, kept.memory.activation_peak);
}

TEST(TreeMerges, RankSubtreesContinueIntoTheWholeTree) {
  // The tree over n leaves, written as nested pairs, from the merge counts.
  const auto tree = [](int n, int first) {
    std::vector<std::string> stack;
    const std::vector<int> merges = tree_merges(n);
    for (int i = 0; i < n; ++i) {
      stack.push_back(std::to_string(first + i));
      for (int m = 0; m < merges[i]; ++m) {
        const std::string right = stack.back();
        stack.pop_back();
        stack.back() = "(" + stack.back() + "+" + right + ")";
      }
    }
    EXPECT_EQ(stack.size(), 1u);
    return stack.back();
  };
  EXPECT_EQ(tree(7, 0), "((((0+1)+2)+((3+4)+5))+6)");
  for (int per_rank : {1, 2, 3, 5, 6, 12}) {
    const std::string two = "(" + tree(per_rank, 0) + "+" + tree(per_rank, per_rank) + ")";
    EXPECT_EQ(tree(2 * per_rank, 0), two);
  }
}

}  // namespace
}  // namespace tephra::sharding
