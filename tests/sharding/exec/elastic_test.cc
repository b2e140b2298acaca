// Runs that change their ranks on the way, hybrid groups, SGD, and the library's own reduction: what has the same bits
// as one undisturbed rank, and what only nearly.
#include "tests/sharding/exec/chain.h"

namespace tephra::sharding::test {
namespace {

// A run that changes its ranks 4 -> 2 -> 1 -> 4 on the way, each part with a strategy of its own, has the bits of one on
// a single rank that nobody disturbed: losses, norms, parameters and moments.
TEST(Elastic, ChangesItsRanksInMidRunAtEveryLevelWithTheSameBits) {
  for (const OptimizerKind optimizer : {OptimizerKind::kAdamW, OptimizerKind::kSgd}) {
    const double momentum = optimizer == OptimizerKind::kSgd ? 0.9 : 0;
    const Trained whole =
        train({.world_size = 1, .steps = 8, .optimizer = optimizer, .momentum = momentum}, initial_reader(), false);
    ASSERT_EQ(whole.stats.size(), 8u);
    for_strategies([&](Training training) {
      if (training.prefetch == 2) return;  // between 1 and 9; the others are enough here
      SCOPED_TRACE(to_string(policy_of(training)));
      training.steps = 2;
      training.optimizer = optimizer;
      training.momentum = momentum;
      const int group_ranks = training.group_ranks;
      State state;
      std::vector<StepStats> stats;
      double evaluation = 0;
      for (const int world : {4, 2, 1, 4}) {
        training.world_size = world;
        training.group_ranks = world < group_ranks ? 0 : group_ranks;
        const Trained part = train(training, stats.empty() ? initial_reader() : reader_of(state), !stats.empty());
        state = part.state;
        stats.insert(stats.end(), part.stats.begin(), part.stats.end());
        evaluation = part.evaluation;
        training.first_step += training.steps;
      }
      expect_same({stats, evaluation, state}, whole);
    });
  }
}

// Both copies' gathers stay within a pair, and each rank holds half, not a quarter, of the state.
TEST(Elastic, HybridDividesWithinItsGroups) {
  const auto units = toy_units();
  const auto plan = [&](int world, int group) {
    const Policy policy{.world_size = world, .group_ranks = group};
    return estimate(make_schedule(units, policy), units, policy, 1);
  };
  const StepEstimate pairs = plan(4, 2), two = plan(2, 0), four = plan(4, 0);
  EXPECT_EQ(pairs.memory.parameter_shards, two.memory.parameter_shards);
  EXPECT_EQ(pairs.memory.optimizer_shards, two.memory.optimizer_shards);
  EXPECT_EQ(pairs.gathered_bytes, two.gathered_bytes);
  EXPECT_LT(pairs.gathered_bytes, four.gathered_bytes);
  EXPECT_GT(pairs.reduced_bytes, four.reduced_bytes) << "the sum over copies comes back whole";
}

TEST(Elastic, SumsInTheLibrarysOrderAreCloseAndNotTheTree) {
  const Trained tree = train({.world_size = 4, .global_micro_batches = 4}, initial_reader(), false);
  for (const ShardLevel shard : kLevels) {
    for (const int group_ranks : {0, 2}) {
      Training training{.world_size = 4, .global_micro_batches = 4, .shard = shard, .reduction = Reduction::kFast};
      if (shard != ShardLevel::kNone) training.group_ranks = group_ranks;
      SCOPED_TRACE(to_string(policy_of(training)));
      const Trained fast = train(training, initial_reader(), false);
      ASSERT_EQ(fast.stats.size(), 3u);
      EXPECT_EQ(fast.stats[0].loss, tree.stats[0].loss) << "losses are summed in the tree always";
      for (int s = 0; s < 3; ++s) EXPECT_NEAR(fast.stats[s].loss, tree.stats[s].loss, 1e-5);
      // Pairs of two are the tree's own order.
      EXPECT_EQ(same_bits(fast.state, tree.state), training.group_ranks == 2);
    }
  }
}

TEST(Elastic, SgdGivesTheSameBitsHoweverTheWorkIsCut) {
  for (const double momentum : {0.0, 0.9}) {
    Training training{.optimizer = OptimizerKind::kSgd, .momentum = momentum};
    const Trained expected = train(training, initial_reader(), false);
    EXPECT_EQ(expected.state.size(), (momentum == 0 ? 1u : 2u) * 7) << "what is not kept is not in a snapshot";
    for (const int world : {2, 4}) {
      for (const ShardLevel shard : kLevels) {
        for (const int group_ranks : {0, 2}) {
          if (shard == ShardLevel::kNone && group_ranks > 0) continue;
          training.world_size = world;
          training.shard = shard;
          training.group_ranks = group_ranks;
          SCOPED_TRACE(to_string(policy_of(training)));
          expect_same(train(training, initial_reader(), false), expected);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tephra::sharding::test
