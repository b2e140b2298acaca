#include "sharding/policy/stage_policy.h"

#include <string>

namespace tephra::sharding {
namespace {

// Why the step cannot be shared out, and what to set in place of that.
Status uneven(const recipes::StageRecipe& stage, int64_t ranks) {
  const int64_t samples = stage.micro_batch * ranks;
  const std::string set = "; use --set stages." + stage.name;
  std::string remedy;
  if (stage.global_batch % ranks == 0) {
    remedy = set + ".micro_batch=" + std::to_string(stage.global_batch / ranks) + " or a divisor of it";
  } else if (stage.global_batch < ranks) {
    remedy = ", and a step of " + std::to_string(stage.global_batch) + " samples is for as many ranks at most" + set +
             ".global_batch=" + std::to_string(ranks) + " and micro_batch=1, or fewer ranks";
  } else {
    remedy = set + ".global_batch=" + std::to_string((stage.global_batch / samples + 1) * samples);
  }
  return Status(Code::kInvalidArgument, "global_batch " + std::to_string(stage.global_batch) +
                                            " is not a multiple of micro_batch (" + std::to_string(stage.micro_batch) +
                                            ") x " + std::to_string(ranks) + " ranks" + remedy);
}

}  // namespace

Result<Policy> stage_policy(const recipes::StageRecipe& stage, int64_t ranks) {
  const int64_t samples = stage.micro_batch * ranks;
  if (stage.global_batch % samples != 0) return uneven(stage, ranks);
  const recipes::ShardingRecipe& sharding = stage.sharding;
  return Policy{.world_size = static_cast<int>(ranks),
                .micro_batches = static_cast<int>(stage.global_batch / samples),
                .shard = shard_level(sharding.shard),
                .reshard_after_forward = sharding.reshard_after_forward,
                .recompute_every = *sharding.recompute_every(),
                .prefetch = *sharding.prefetch_depth(),
                .group_ranks = static_cast<int>(sharding.group_ranks),
                .reduction = sharding.reduction == "fast" ? Reduction::kFast : Reduction::kTree,
                .moments = stage.optimizer.moments(),
                .held_snapshots = stage.checkpoint.held_snapshots(),
                .offload = offload_of(sharding.offload)};
}

}  // namespace tephra::sharding
