// The planner's clock: cases worked by hand, and over random chains and policies the bounds that any such clock keeps
// (exposed within communication, total = compute + exposed, faster links never slower). Seeds are in the failure
// messages.
#include "sharding/plan/step_time.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace tephra::sharding {
namespace {

std::vector<UnitSpec> chain(const std::vector<bool>& trainable) {
  std::vector<UnitSpec> units;
  for (size_t u = 0; u < trainable.size(); ++u) {
    UnitSpec unit{.name = "u" + std::to_string(u), .group = "llm", .trainable = trainable[u]};
    unit.tensors.push_back({"w" + std::to_string(u), {4096}});
    unit.macs_per_token = 4096;
    unit.activation_per_token = 100;
    units.push_back(unit);
  }
  layout(units);
  return units;
}

OpSeconds seconds(size_t units, double forward, double backward, double gather, double reduce) {
  OpSeconds s;
  s.forward.assign(units, forward);
  s.backward.assign(units, backward);
  s.gather.assign(units, gather);
  s.reduce.assign(units, reduce);
  return s;
}

StepTime timed(const std::vector<UnitSpec>& units, const Policy& policy, const OpSeconds& s) {
  return step_time(make_schedule(units, policy), units, policy, s);
}

// gather u0 2 | forward u0 10, u1's gather beside it | forward u1 10, u0's again beside it | backward u1 20 |
// backward u0 20, u1's reduction of 5 beside it | u0's reduction of 5, nothing beside it | exchange 1 | update 3.
TEST(StepTime, HidesCommunicationBesideTheComputeThatIsThere) {
  const auto units = chain({true, true});
  OpSeconds s = seconds(2, 10, 20, 2, 5);
  s.update = 3, s.exchange = 1;
  const StepTime time = timed(units, {.world_size = 2}, s);
  EXPECT_DOUBLE_EQ(time.compute, 2 * 10 + 2 * 20 + 3);
  EXPECT_DOUBLE_EQ(time.communication, 3 * 2 + 2 * 5 + 1);
  EXPECT_DOUBLE_EQ(time.exposed, 2 + 5 + 1);
  EXPECT_DOUBLE_EQ(time.total, time.compute + time.exposed);
}

// After two forwards of 10 and two backwards of 20, with transfers of 4 and updates of 3: u0's moments arrive at 4 and u1's at 8,
// u0 is updated until 7 and written back from 8 to 12, u1 updated from 8 to 11 and written back from 12 to 16.
TEST(StepTime, FetchesOffloadedMomentsAheadAndWritesThemBackBehind) {
  const auto units = chain({true, true});
  OpSeconds s = seconds(2, 10, 20, 0, 0);
  s.update = 6;
  s.transfer = {4, 4};
  const StepTime time = timed(units, {.offload = Offload::kOptimizer}, s);
  EXPECT_DOUBLE_EQ(time.compute, 60 + 6);
  EXPECT_DOUBLE_EQ(time.transfer, 4 * 4);
  EXPECT_DOUBLE_EQ(time.exposed_transfer, 4 + 1 + 5);
  EXPECT_DOUBLE_EQ(time.total, time.compute + time.exposed_transfer);
}

// Fetches of 3 and gathers of 2: u0's are waited for, u1's are done beside u0's forward. With fetches of 13 u1's is waited
// for, too.
TEST(StepTime, FetchesOffloadedParametersBeforeTheirGathers) {
  const auto units = chain({false, false});
  OpSeconds s = seconds(2, 10, 0, 2, 0);
  s.transfer = {0, 0};
  s.fetch = {3, 3};
  StepTime time = timed(units, {.world_size = 2, .offload = Offload::kParameters}, s);
  EXPECT_DOUBLE_EQ(time.exposed_transfer, 3);
  EXPECT_DOUBLE_EQ(time.exposed, 2);
  EXPECT_DOUBLE_EQ(time.transfer, 2 * 3);
  EXPECT_DOUBLE_EQ(time.total, 3 + 2 + 10 + 10);
  s.fetch = {13, 13};
  time = timed(units, {.world_size = 2, .offload = Offload::kParameters}, s);
  // u0 at 13 and 15, computed to 25; u1's fetch from 15 to 28, gathered at 30.
  EXPECT_DOUBLE_EQ(time.exposed_transfer, 13 + 3);
  EXPECT_DOUBLE_EQ(time.exposed, 2 + 2);
  EXPECT_DOUBLE_EQ(time.total, 40);
}

// Without prefetching every gather is waited for.
TEST(StepTime, ExposesEveryGatherWithoutPrefetching) {
  const auto units = chain({true, true});
  const StepTime time = timed(units, {.world_size = 2, .prefetch = 0}, seconds(2, 10, 20, 2, 0));
  EXPECT_DOUBLE_EQ(time.exposed, 3 * 2);
}

// Gathers of 7 beside forwards of 2: the lane is never idle, and the compute waits for it.
TEST(StepTime, IsBoundByTheLinkWhenThatIsSlower) {
  const auto units = chain({false, false, false, false});
  const StepTime time = timed(units, {.world_size = 2}, seconds(4, 2, 0, 7, 0));
  EXPECT_DOUBLE_EQ(time.total, 4 * 7 + 2);
  EXPECT_DOUBLE_EQ(time.exposed, time.total - 4 * 2);
}

TEST(StepTime, RecomputationAddsAForward) {
  const auto units = chain({true, true, true});
  const OpSeconds s = seconds(3, 10, 20, 0, 0);
  EXPECT_DOUBLE_EQ(timed(units, {}, s).total, 3 * 30);
  EXPECT_DOUBLE_EQ(timed(units, {.recompute_every = 1}, s).total, 3 * 30 + 2 * 10);  // the last is never recomputed
}

TEST(StepTime, UnitsThatStayGatheredAreFetchedOnceIfTheyLearnElseNever) {
  const auto units = chain({false, true});
  const Policy policy{.world_size = 2, .micro_batches = 3, .shard = ShardLevel::kGradients};
  EXPECT_DOUBLE_EQ(timed(units, policy, seconds(2, 1, 1, 4, 0)).communication, 4);
}

Policy random_policy(uint64_t seed, int world_size) {
  return {.world_size = world_size,
          .micro_batches = static_cast<int>(1 + random_below(4, {seed, 1})),
          .shard = static_cast<ShardLevel>(random_below(4, {seed, 2})),
          .reshard_after_forward = random_below(2, {seed, 3}) == 1,
          .recompute_every = static_cast<int>(random_below(3, {seed, 4})),
          .prefetch = static_cast<int>(random_below(4, {seed, 5}))};
}

std::vector<UnitSpec> random_chain(uint64_t seed) {
  std::vector<bool> trainable(1 + random_below(7, {seed, 6}));
  for (size_t u = 0; u < trainable.size(); ++u) trainable[u] = random_below(2, {seed, 7, u}) == 1;
  return chain(trainable);
}

TEST(StepTime, KeepsItsBoundsForRandomChainsPoliciesAndCosts) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const auto units = random_chain(seed);
    const Policy policy = random_policy(seed, 1 << random_below(4, {seed, 8}));
    OpSeconds s = seconds(units.size(), 0, 0, 0, 0);
    for (size_t u = 0; u < units.size(); ++u) {
      s.forward[u] = random_unit({seed, 9, u});
      s.backward[u] = 2 * random_unit({seed, 10, u});
      s.gather[u] = 2 * random_unit({seed, 11, u});
      s.reduce[u] = 2 * random_unit({seed, 12, u});
    }
    s.update = random_unit({seed, 13});
    const StepTime time = timed(units, policy, s);
    ASSERT_LE(time.exposed, time.communication + 1e-9) << "seed " << seed;
    ASSERT_NEAR(time.total, time.compute + time.exposed, 1e-9) << "seed " << seed;
    if (policy.world_size == 1) {
      ASSERT_EQ(time.communication, 0) << "seed " << seed;
    }
    OpSeconds faster = s;
    for (double& gather : faster.gather) gather /= 2;
    for (double& reduce : faster.reduce) reduce /= 2;
    const StepTime sooner = timed(units, policy, faster);
    ASSERT_LE(sooner.total, time.total + 1e-9) << "seed " << seed;
    ASSERT_DOUBLE_EQ(sooner.compute, time.compute) << "seed " << seed;
  }
}

Cluster cluster(const std::string& text, int nodes = 1) {
  auto parsed = parse_cluster(text, nodes);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return *parsed;
}

const char* const kRound = "custom:memory=1G,flops=1T,bandwidth=1T,link=1G,network=1G,flops_share=0.5,link_share=0.5";

TEST(OpSeconds, AreTheFormulasOfTheDocument) {
  const auto units = chain({true, true});
  Cluster c = cluster(std::string("2x") + kRound, 2);
  c.device.link_seconds = 1e-3, c.device.network_seconds = 1e-2;
  const Policy policy{.world_size = 4};
  const MicroBatchSize batch{.tokens = 1000, .length = 1000};
  const OpSeconds s = op_seconds(units, policy, batch, c, Numbers::kFloat32);
  const double products = 2.0 * 4096 * 1000 / 0.5e12;  // more than reading 4096 weights at 1 TB/s
  const double activations = 100.0 * 1000 * 4 / 1e12;
  EXPECT_DOUBLE_EQ(s.forward[0], products + 2 * activations);
  EXPECT_DOUBLE_EQ(s.backward[1], 2 * products + 4 * activations + 3 * 4096 * 4 / 1e12);
  EXPECT_DOUBLE_EQ(s.backward[0], products + 4 * activations + 3 * 4096 * 4 / 1e12) << "nothing before it learns";
  // Half from the other device of the node, a quarter from the other node, at half of 1 GB/s; one hop in a node and two
  // between nodes around the ring, one exchange in each by halving.
  const double bytes = 4096 * 4, half_rate = 0.5e9;
  EXPECT_DOUBLE_EQ(s.gather[0], bytes / 2 / half_rate + 1e-3 + 2 * 1e-2);
  EXPECT_DOUBLE_EQ(s.reduce[0], bytes / 2 / half_rate + bytes / 4 / half_rate + 1e-3 + 1e-2);
  EXPECT_DOUBLE_EQ(s.update, 2 * 1024 * 8 * 4 / 1e12);
}

TEST(OpSeconds, NeedNoNetworkOnOneNode) {
  const auto units = chain({true});
  Cluster c = cluster(std::string("2x") + kRound);
  c.device.network_bandwidth = 0;  // as that of a machine calibrated alone
  const OpSeconds s = op_seconds(units, {.world_size = 2}, {.tokens = 1}, c, Numbers::kFloat32);
  EXPECT_TRUE(std::isfinite(s.gather[0] + s.reduce[0] + s.exchange));
}

TEST(OpSeconds, OfHybridGroupsGatherWithinThem) {
  const auto units = chain({true, true});
  Cluster c = cluster(std::string("2x") + kRound, 2);
  c.device.link_seconds = 1e-3, c.device.network_seconds = 1e-2;
  const Policy policy{.world_size = 4, .group_ranks = 2};
  const OpSeconds s = op_seconds(units, policy, {.tokens = 1}, c, Numbers::kFloat32);
  const double bytes = 4096 * 4, half_rate = 0.5e9;
  EXPECT_DOUBLE_EQ(s.gather[0], bytes / 2 / half_rate + 1e-3) << "nothing over the network";
  // Halved in the node; then the half is halved between the two nodes, and the quarters come back.
  const double over_network = bytes / 4 / half_rate;
  EXPECT_DOUBLE_EQ(s.reduce[0], bytes / 2 / half_rate + 1e-3 + 2 * (over_network + 1e-2));
  EXPECT_DOUBLE_EQ(s.update, 2 * 2048 * 8 * 4 / 1e12);
}

TEST(OpSeconds, AreBoundByReadingWeightsWhenTokensAreFew) {
  const auto units = chain({false});
  const OpSeconds s = op_seconds(units, {}, {.tokens = 1}, cluster(kRound), Numbers::kFloat32);
  EXPECT_DOUBLE_EQ(s.forward[0], 4096 * 4 / 1e12 + 2 * 100 * 4 / 1e12);
}

TEST(OpSeconds, NarrowNumbersHalveTrafficAndNotGradients) {
  const auto units = chain({true, true});
  auto narrow_units = units;
  for (UnitSpec& unit : narrow_units) unit.compute_dtype = DType::kBFloat16;
  Cluster c = cluster(std::string("8x") + kRound);
  c.device.link_seconds = 0;
  const Policy policy{.world_size = 8};
  const OpSeconds wide = op_seconds(units, policy, {.tokens = 9}, c, Numbers::kFloat32);
  const OpSeconds narrow = op_seconds(narrow_units, policy, {.tokens = 9}, c, Numbers::kBFloat16);
  EXPECT_DOUBLE_EQ(narrow.gather[0], wide.gather[0] / 2);
  EXPECT_DOUBLE_EQ(narrow.reduce[0], wide.reduce[0]);
  EXPECT_DOUBLE_EQ(narrow.update, wide.update);
}

TEST(StepTime, GrowsNeverWithBandwidthOrRate) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto units = random_chain(seed);
    const Cluster slow = cluster(std::string("4x") + kRound, 2);
    const Policy policy = random_policy(seed, 8);
    const MicroBatchSize batch{.tokens = static_cast<int64_t>(1 + random_below(5000, {seed, 20})), .length = 10};
    const auto total = [&](const Cluster& c) {
      return timed(units, policy, op_seconds(units, policy, batch, c, Numbers::kFloat32)).total;
    };
    const double before = total(slow);
    for (double Device::*figure : {&Device::link_bandwidth, &Device::network_bandwidth, &Device::memory_bandwidth,
                                   &Device::flops_share, &Device::link_share}) {
      Cluster better = slow;
      better.device.*figure *= 1.5;
      ASSERT_LE(total(better), before + 1e-12) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tephra::sharding
