// Schedules over random chains and policies: they gather before use, free after the last use and reduce once, pass
// their own check, which no changed one does, and what an independent walk counts in memory stays within the estimate.
// Seeds are in the failure messages.
#include "sharding/plan/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
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
  Policy policy{.world_size = 1 << random_below(4, {seed, 3}),
                .micro_batches = static_cast<int>(1 + random_below(5, {seed, 4})),
                .shard = static_cast<ShardLevel>(random_below(4, {seed, 5})),
                .reshard_after_forward = random_below(2, {seed, 6}) == 1,
                .recompute_every = static_cast<int>(random_below(4, {seed, 7})),
                .prefetch = static_cast<int>(random_below(5, {seed, 8})),
                .moments = static_cast<int>(random_below(3, {seed, 9})),
                .offload = static_cast<Offload>(random_below(2, {seed, 10}))};
  if (policy.shard == ShardLevel::kParameters && random_below(3, {seed, 11}) == 0)
    policy.offload = Offload::kParameters;
  return {chain(trainable, sizes), policy};
}

bool same(const Op& a, const Op& b) { return a.kind == b.kind && a.unit == b.unit && a.micro_batch == b.micro_batch; }

TEST(Schedule, IsTheListThatTheDesignDraws) {
  const auto units = chain({false, true, false});
  const Policy policy{.world_size = 2, .recompute_every = 1};
  EXPECT_EQ(to_string(make_schedule(units, policy), units, policy),
            "gather u0\nforward u0 micro_batch 0; gathering u1\nfree u0\n"
            "gather u1\nforward u1 micro_batch 0; gathering u2\nfree u1\n"
            "gather u2\nforward u2 micro_batch 0; gathering u1\nbackward u2 micro_batch 0\nfree u2\n"
            "gather u1\nrecompute u1 micro_batch 0\nbackward u1 micro_batch 0\nreduce_scatter u1\nfree u1\n"
            "step\n");
  EXPECT_EQ(to_string(policy), "2 ranks x 1 micro-batch, shard parameters, all units recomputed, prefetch 1");
}

TEST(Schedule, OffloadedMomentsAreFetchedUpdatedAndStoredOnceEach) {
  const auto units = chain({false, true, true}, {100, 5000, 100});  // padded to 4,096, 8,192 and 4,096
  const Policy policy{.shard = ShardLevel::kNone, .offload = Offload::kOptimizer};
  const Schedule ops = make_schedule(units, policy);
  EXPECT_TRUE(
      to_string(ops, units, policy).ends_with("step\nfetch u1\nupdate u1\nstore u1\nfetch u2\nupdate u2\nstore u2\n"));
  EXPECT_TRUE(to_string(policy).find("moments offloaded") != std::string::npos);
  for (size_t i = ops.size() - 6; i < ops.size(); ++i) {
    Schedule without = ops, twice = ops;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_FALSE(check_schedule(without, units, policy).ok()) << "without operation " << i;
    twice.insert(twice.begin() + static_cast<std::ptrdiff_t>(i), ops[i]);
    EXPECT_FALSE(check_schedule(twice, units, policy).ok()) << "operation " << i << " twice";
  }

  // Two sets of two moments, the held snapshot's included, leave the device; two buffers of the largest unit stay.
  Policy kept = policy;
  kept.offload = Offload::kNone;
  const MemoryEstimate with = estimate(ops, units, policy, 1).memory;
  const MemoryEstimate without = estimate(make_schedule(units, kept), units, kept, 1).memory;
  EXPECT_EQ(with.host, 2 * 2 * (8192 + 4096) * 4);
  EXPECT_EQ(without.host, 0);
  EXPECT_EQ(without.total() - with.total(), with.host - 2 * 2 * 8192 * 4);
}

// Frozen units' parameters too, which are fetched as often as those that learn and never stored.
TEST(Schedule, OffloadedParametersAreFetchedBeforeEachGather) {
  const auto units = chain({false, true}, {100, 5000});  // padded to 4,096 and 8,192
  Policy policy{.world_size = 2, .offload = Offload::kParameters};
  const Schedule ops = make_schedule(units, policy);
  EXPECT_EQ(to_string(ops, units, policy),
            "fetch u0\ngather u0\nforward u0 micro_batch 0; gathering u1\nfree u0\n"
            "fetch u1\ngather u1\nforward u1 micro_batch 0\nbackward u1 micro_batch 0\nreduce_scatter u1\nfree u1\n"
            "step\nfetch u1\nupdate u1\nstore u1\n");
  EXPECT_EQ(to_string(policy),
            "2 ranks x 1 micro-batch, shard parameters, parameters and moments offloaded, prefetch 1");

  // Two sets of parameters and moments, the held snapshot's included, and the frozen parameters leave the device; one
  // working buffer stays. The gathers hold a fetched half of u1 beside both units.
  const MemoryEstimate with = estimate(ops, units, policy, 1).memory;
  policy.offload = Offload::kNone;
  const MemoryEstimate without = estimate(make_schedule(units, policy), units, policy, 1).memory;
  EXPECT_EQ(with.parameter_shards, 0);
  EXPECT_EQ(with.host, (2 * 3 * 8192 + 4096) * 4 / 2);
  EXPECT_EQ(with.host, without.parameter_shards + without.optimizer_shards);
  EXPECT_EQ(with.optimizer_shards, 3 * 8192 * 4 / 2);
  EXPECT_EQ(with.gathered_peak, without.gathered_peak + 8192 * 4 / 2);
  EXPECT_EQ(with.gradient_shards, without.gradient_shards);

  // One rank has the whole unit: what is fetched is what is computed with.
  const Policy alone{.offload = Offload::kParameters};
  EXPECT_EQ(estimate(make_schedule(units, alone), units, alone, 1).memory.gathered_peak, (4096 + 8192) * 4);
}

// The masters stay float32; what is gathered is kept rounded beside them, and is rounded in the working buffer.
TEST(Estimate, CountsNarrowCopiesOfOffloadedParameters) {
  auto units = chain({false, true});
  for (UnitSpec& unit : units) unit.compute_dtype = DType::kBFloat16;
  const Policy policy{.offload = Offload::kParameters};
  const MemoryEstimate m = estimate(make_schedule(units, policy), units, policy, 1).memory;
  EXPECT_EQ(m.host, 4096 * (2 + 2 + 2 * 12));
  EXPECT_EQ(m.optimizer_shards, 4096 * (12 + 2));
  EXPECT_EQ(m.gathered_peak, 2 * 4096 * 2);
}

TEST(Schedule, ReplicatedUnitsAreNeitherGatheredNorFreed) {
  const auto units = chain({true, true});
  const Policy policy{.world_size = 2, .micro_batches = 2, .shard = ShardLevel::kNone};
  EXPECT_EQ(to_string(make_schedule(units, policy), units, policy),
            "forward u0 micro_batch 0\nforward u1 micro_batch 0\nbackward u1 micro_batch 0\nbackward u0 micro_batch 0\n"
            "forward u0 micro_batch 1\nforward u1 micro_batch 1\n"
            "backward u1 micro_batch 1\nall_reduce u1\nbackward u0 micro_batch 1\nall_reduce u0\nstep\n");
}

TEST(Schedule, ShardedGradientsAreReducedAsTheyComeAndOthersAtTheEnd) {
  const auto units = chain({true, true});
  Policy policy{.world_size = 2, .shard = ShardLevel::kOptimizer};
  const std::string forward =
      "gather u0\nforward u0 micro_batch 0; gathering u1\ngather u1\nforward u1 micro_batch 0\n";
  EXPECT_EQ(
      to_string(make_schedule(units, policy), units, policy),
      forward + "backward u1 micro_batch 0\nbackward u0 micro_batch 0\nreduce_scatter u1\nreduce_scatter u0\nstep\n");
  policy.shard = ShardLevel::kGradients;
  EXPECT_EQ(
      to_string(make_schedule(units, policy), units, policy),
      forward + "backward u1 micro_batch 0\nreduce_scatter u1\nbackward u0 micro_batch 0\nreduce_scatter u0\nstep\n");
}

TEST(Schedule, RecomputesEveryKthUnitThatBackwardPasses) {
  const auto units = chain({false, true, false, true, true, true, true});
  const auto recomputed = [&](int every) {
    std::vector<int> out;
    for (const Op& op : make_schedule(units, {.recompute_every = every}))
      if (op.kind == OpKind::kRecompute) out.insert(out.begin(), op.unit);
    return out;
  };
  EXPECT_EQ(recomputed(0), (std::vector<int>{}));
  EXPECT_EQ(recomputed(1), (std::vector<int>{1, 2, 3, 4, 5}));
  EXPECT_EQ(recomputed(2), (std::vector<int>{2, 4}));  // not 6: it is the last
  EXPECT_EQ(recomputed(3), (std::vector<int>{3}));
  EXPECT_EQ(recomputed(9), (std::vector<int>{}));
}

TEST(ShardLevels, AreCalledAsInRecipes) {
  for (const auto level : {ShardLevel::kNone, ShardLevel::kOptimizer, ShardLevel::kGradients, ShardLevel::kParameters})
    EXPECT_EQ(shard_level(name_of(level)), level);
  EXPECT_EQ(name_of(ShardLevel::kGradients), "gradients");
}

// Counted anew: no rule is shared with make_schedule() or check_schedule().
TEST(Schedule, GathersBeforeUseFreesAfterTheLastAndReducesOnce) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const Case c = random_case(seed);
    const Schedule ops = make_schedule(c.units, c.policy);
    const bool frees = c.policy.shard == ShardLevel::kParameters;
    std::vector<bool> here(c.units.size(), c.policy.shard == ShardLevel::kNone);
    std::map<std::pair<int, int>, int> forwards, backwards;  // (unit, micro-batch): times
    int step_at = -1, fetches = 0, gathers = 0;
    std::vector<int> reductions(c.units.size()), last_backward(c.units.size(), -1), reduced_at(c.units.size(), -1);
    for (int i = 0; i < std::ssize(ops); ++i) {
      const auto [kind, unit, micro_batch] = ops[i];
      if (kind == OpKind::kStep) {
        step_at = i;
        break;
      }
      if (kind == OpKind::kFetch) {
        ASSERT_EQ(c.policy.offload, Offload::kParameters) << "seed " << seed << " operation " << i;
        ASSERT_TRUE(same(ops[i + 1], {OpKind::kGather, unit, -1})) << "seed " << seed << " operation " << i;
        ++fetches;
      } else if (kind == OpKind::kGather) {
        ++gathers;
        ASSERT_FALSE(here[unit]) << "seed " << seed << " operation " << i;
        here[unit] = true;
      } else if (kind == OpKind::kFree) {
        ASSERT_TRUE(here[unit] && frees) << "seed " << seed << " operation " << i;
        ASSERT_EQ(ops[i - 1].unit, unit) << "seed " << seed << " operation " << i << " was not freed at once";
        here[unit] = false;
      } else if (kind == OpKind::kReduceScatter || kind == OpKind::kAllReduce) {
        ++reductions[unit];
        reduced_at[unit] = i;
      } else {
        ASSERT_TRUE(here[unit]) << "seed " << seed << " operation " << i << " uses what is not gathered";
        if (kind == OpKind::kForward) ++forwards[{unit, micro_batch}];
        if (kind == OpKind::kBackward) ++backwards[{unit, micro_batch}], last_backward[unit] = i;
      }
    }
    ASSERT_GE(step_at, 0) << "seed " << seed;
    // What follows the step: of every trainable unit, in order, fetch, update and store.
    const bool parameters = c.policy.offload == Offload::kParameters;
    ASSERT_EQ(fetches, parameters ? gathers : 0) << "seed " << seed;
    const bool offloads = parameters || (c.policy.offload == Offload::kOptimizer && c.policy.moments > 0);
    size_t next = step_at + 1;
    for (size_t u = 0; u < c.units.size() && offloads; ++u) {
      if (!c.units[u].trainable) continue;
      for (const OpKind kind : {OpKind::kFetch, OpKind::kUpdate, OpKind::kStore}) {
        ASSERT_LT(next, ops.size()) << "seed " << seed;
        ASSERT_EQ(ops[next].kind, kind) << "seed " << seed << " operation " << next;
        ASSERT_EQ(ops[next++].unit, static_cast<int>(u)) << "seed " << seed;
      }
    }
    ASSERT_EQ(next, ops.size()) << "seed " << seed;
    for (size_t u = 0; u < c.units.size(); ++u) {
      const UnitSpec& unit = c.units[u];
      ASSERT_EQ(here[u], !frees) << "seed " << seed << ": " << unit.name << " at the end";
      ASSERT_EQ(reductions[u], unit.trainable ? 1 : 0) << "seed " << seed << " " << unit.name;
      if (unit.trainable) {
        ASSERT_GT(reduced_at[u], last_backward[u]) << "seed " << seed << " " << unit.name;
      }
      for (int m = 0; m < c.policy.micro_batches; ++m) {
        ASSERT_EQ((forwards[{static_cast<int>(u), m}]), 1) << "seed " << seed;
        ASSERT_EQ((backwards[{static_cast<int>(u), m}]), unit.needs_backward ? 1 : 0) << "seed " << seed;
      }
    }
  }
}

TEST(Schedule, FrozenFrontIsNeverRunBackward) {
  const auto units = chain({false, false, true, false});
  for (const Op& op : make_schedule(units, {.world_size = 2, .micro_batches = 3, .recompute_every = 1})) {
    if (op.kind == OpKind::kBackward || op.kind == OpKind::kRecompute) {
      EXPECT_GE(op.unit, 2);
    }
  }
}

TEST(Schedule, UnshardedParametersAreGatheredOnceAndNeverFreed) {
  const auto units = chain({true, true});
  const Schedule ops = make_schedule(units, {.world_size = 2, .micro_batches = 3, .shard = ShardLevel::kGradients});
  EXPECT_EQ(std::count_if(ops.begin(), ops.end(), [](const Op& op) { return op.kind == OpKind::kGather; }), 2);
  EXPECT_EQ(std::count_if(ops.begin(), ops.end(), [](const Op& op) { return op.kind == OpKind::kFree; }), 0);
}

TEST(Schedule, PassesItsCheckForRandomChainsAndPolicies) {
  for (uint64_t seed = 0; seed < 1000; ++seed) {
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

TEST(Prefetch, IsSoManyGathersAheadAndNeverPassesAUseOfTheSameUnitOrAStep) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Case c = random_case(seed);
    const Schedule ops = make_schedule(c.units, c.policy);
    size_t before = 0;
    for (size_t i = 0; i < ops.size(); ++i) {
      const size_t end = prefetch_end(ops, i, c.policy.prefetch);
      ASSERT_GT(end, i);
      if (ops[i].micro_batch >= 0) {  // a use
        ASSERT_GE(end, before) << "seed " << seed << ": what was issued stays issued";
        before = end;
      }
      int ahead = 0;
      for (size_t next = i + 1; next < end; ++next) {
        ASSERT_NE(ops[next].kind, OpKind::kStep);
        if (ops[next].kind != OpKind::kGather) continue;
        ++ahead;
        for (size_t j = i; j < next; ++j) {
          const bool its_fetch = j + 1 == next && ops[j].kind == OpKind::kFetch;
          ASSERT_TRUE(its_fetch || ops[j].unit != ops[next].unit) << "seed " << seed;
        }
      }
      ASSERT_LE(ahead, c.policy.prefetch);
      // A fetch is issued with its gather, but at the fetch itself.
      if (ops[i].kind != OpKind::kFetch) {
        ASSERT_NE(ops[end - 1].kind, OpKind::kFetch) << "seed " << seed;
      }
    }
  }
  const auto units = chain({true, true, true, true});
  const Schedule ops = make_schedule(units, {.world_size = 2});
  EXPECT_EQ(prefetch_end(ops, 1, 0), 3u);  // at forward u0: up to the gather of u1 ...
  EXPECT_EQ(prefetch_end(ops, 1, 1), 6u);  // ... of u2
  EXPECT_EQ(prefetch_end(ops, 1, 2), 9u);  // ... of u3
  EXPECT_EQ(prefetch_end(ops, 1, 9), 14u) << "u2 is gathered again, but is to be freed first";
}

TEST(Estimate, GatheredUnitsNeverExceedThePeak) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Case c = random_case(seed);
    const Schedule ops = make_schedule(c.units, c.policy);
    const int64_t peak = estimate(ops, c.units, c.policy, 10).memory.gathered_peak;
    if (used_in_place(c.policy)) {
      ASSERT_EQ(peak, 0) << "seed " << seed;
      continue;
    }
    // Beside each unit whose gather is under way, the shard that was fetched for it.
    const int64_t parts = c.policy.offload == Offload::kParameters && c.policy.world_size > 1 ? c.policy.world_size : 0;
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
    if (parts == 0 && (c.policy.shard != ShardLevel::kParameters || c.policy.prefetch == 0)) {
      ASSERT_EQ(seen, peak) << "seed " << seed;
    }
    if (c.policy.shard == ShardLevel::kParameters && c.policy.reshard_after_forward) {
      std::vector<int64_t> sizes;
      for (const UnitSpec& unit : c.units)
        sizes.push_back(unit.flat_numel * 4 + (parts > 0 ? unit.flat_numel * 4 / parts : 0));
      std::sort(sizes.rbegin(), sizes.rend());
      sizes.resize(std::min<size_t>(sizes.size(), 1 + c.policy.prefetch));
      ASSERT_LE(peak, std::accumulate(sizes.begin(), sizes.end(), int64_t{0}))
          << "seed " << seed << ": one unit and those gathered ahead";
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
  for (const int recompute_every : {0, 1}) {
    const Policy policy{.micro_batches = 2, .recompute_every = recompute_every};
    units[1].activation_fixed = 0;
    const auto without = estimate(make_schedule(units, policy), units, policy, 5).memory.activation_peak;
    units[1].activation_fixed = 1000;
    EXPECT_EQ(estimate(make_schedule(units, policy), units, policy, 5).memory.activation_peak, without + 4000);
  }
}

TEST(Estimate, RecomputationTradesWorkForActivations) {
  const auto units = chain({true, true, true, true, true, true});
  const auto with = [&](int recompute_every) {
    const Policy policy{.world_size = 2, .recompute_every = recompute_every};
    return estimate(make_schedule(units, policy), units, policy, 8);
  };
  const StepEstimate kept = with(0), half = with(2), again = with(1);
  EXPECT_GT(again.macs, half.macs);
  EXPECT_GT(half.macs, kept.macs);
  EXPECT_LT(again.memory.activation_peak, half.memory.activation_peak);
  EXPECT_LT(half.memory.activation_peak, kept.memory.activation_peak);
}

// In units of one unit's buffer: what the header says of each level.
TEST(Estimate, EachLevelHoldsWhatTheHeaderSays) {
  const auto units = chain({true, true, true, true});
  const auto plan = [&](ShardLevel shard, int micro_batches) {
    const Policy policy{.world_size = 2, .micro_batches = micro_batches, .shard = shard};
    MemoryEstimate m = estimate(make_schedule(units, policy), units, policy, 1).memory;
    const auto buffers = [](int64_t bytes) { return static_cast<double>(bytes) / (4096 * 4); };
    return std::vector<double>{buffers(m.parameter_shards), buffers(m.gathered_peak), buffers(m.gradient_shards),
                               buffers(m.gradient_peak), buffers(m.optimizer_shards)};
  };
  // Gradients: beside a whole unit of the micro-batch one that is being reduced; with kNone half a unit of it.
  EXPECT_EQ(plan(ShardLevel::kNone, 1), (std::vector<double>{4, 0, 0, 4.5, 20}));
  EXPECT_EQ(plan(ShardLevel::kOptimizer, 1), (std::vector<double>{2, 4, 2, 4, 10}));
  EXPECT_EQ(plan(ShardLevel::kGradients, 1), (std::vector<double>{2, 4, 2, 2, 10}));
  EXPECT_EQ(plan(ShardLevel::kParameters, 1), (std::vector<double>{2, 2, 2, 2, 10}));
  EXPECT_EQ(plan(ShardLevel::kNone, 4), (std::vector<double>{4, 0, 0, 9, 20}));
  for (const ShardLevel shard : {ShardLevel::kOptimizer, ShardLevel::kGradients})
    EXPECT_EQ(plan(shard, 4), (std::vector<double>{2, 4, 2, 9, 10})) << "two whole partial sums of each, at either";
}

TEST(Estimate, AnAllReduceMovesAsMuchAsAReductionAndAGather) {
  const auto units = chain({true, true});
  Policy policy{.world_size = 2, .micro_batches = 3, .shard = ShardLevel::kGradients};
  const StepEstimate sharded = estimate(make_schedule(units, policy), units, policy, 1);
  policy.shard = ShardLevel::kNone;
  const StepEstimate whole = estimate(make_schedule(units, policy), units, policy, 1);
  EXPECT_EQ(whole.gathered_bytes, 0);
  EXPECT_EQ(whole.reduced_bytes, sharded.reduced_bytes + sharded.gathered_bytes);
}

// In bytes of one unit's buffer: pairs of four ranks hold halves; a gathered half comes from the pair; a reduction moves
// half the buffer in the pair, and half of that half to the other copy and back.
TEST(Estimate, HybridCountsGroupsAndCopies) {
  const auto units = chain({true});
  const auto plan = [&](int group_ranks) {
    const Policy policy{.world_size = 4, .group_ranks = group_ranks};
    return estimate(make_schedule(units, policy), units, policy, 1);
  };
  const double buffer = 4096 * 4;
  const StepEstimate hybrid = plan(2), all = plan(4);
  EXPECT_EQ(hybrid.memory.parameter_shards, buffer / 2);
  EXPECT_EQ(hybrid.memory.gradient_shards, buffer / 2);
  EXPECT_EQ(hybrid.memory.optimizer_shards, 5 * buffer / 2);
  EXPECT_EQ(hybrid.gathered_bytes, buffer / 2);
  EXPECT_EQ(hybrid.reduced_bytes, buffer / 2 + 2 * buffer / 4);
  EXPECT_EQ(all.memory.total(), plan(0).memory.total());
  EXPECT_EQ(all.reduced_bytes, buffer * 3 / 4);
}

TEST(Estimate, CountsTheMomentsThatTheOptimizerKeeps) {
  const auto units = chain({false, true, true});
  for (const int moments : {0, 1, 2}) {
    const Policy policy{.world_size = 2, .moments = moments};
    EXPECT_EQ(estimate(make_schedule(units, policy), units, policy, 1).memory.optimizer_shards,
              (moments + 1 + moments) * 2 * 4096 * 4 / 2);
  }
}

// Every element is one rank's to answer for, and lies in the shard that this rank holds.
TEST(Holding, PartsCoverAUnitOnceInTheirOwnersShards) {
  for (int world = 1; world <= 16; world *= 2) {
    for (int group = 0; group <= world; group = group == 0 ? 1 : 2 * group) {
      for (const ShardLevel shard : {ShardLevel::kNone, ShardLevel::kParameters}) {
        const Policy policy{.world_size = world, .shard = shard, .group_ranks = group};
        SCOPED_TRACE(to_string(policy));
        std::vector<int> owners(world, -1);
        for (int rank = 0; rank < world; ++rank) {
          const Holding h = holding(policy, rank);
          ASSERT_EQ(h.parts, world);
          ASSERT_EQ(h.part / (h.parts / h.shards), h.shard) << "rank " << rank;
          ASSERT_EQ(owners[h.part], -1);
          owners[h.part] = rank;
          EXPECT_EQ(rank_of_part(policy, h.part), rank);
        }
        EXPECT_EQ(ranks_per_copy(policy), shard == ShardLevel::kNone ? 1 : (group == 0 ? world : group));
      }
    }
  }
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
