#include "sharding/exec/rank_groups.h"

namespace tephra::sharding {

using cluster::Buffer;

Result<RankGroups> make_rank_groups(cluster::Communicator* all, const Policy& policy, Deadline deadline) {
  RankGroups groups;
  groups.all_ = all;
  groups.reduction_ = policy.reduction;
  const int shards = ranks_per_copy(policy), copies = policy.world_size / shards;
  if (shards > 1) groups.shards_ = all;
  if (copies > 1) groups.copies_ = all;
  if (shards == 1 || copies == 1) return groups;
  // Neighbours share a copy: their sums come first in the tree, and the sum over copies continues it.
  TEPHRA_ASSIGN_OR_RETURN(groups.own_shards_, all->split(all->rank() / shards, deadline));
  TEPHRA_ASSIGN_OR_RETURN(groups.own_copies_, all->split(all->rank() % shards, deadline));
  groups.shards_ = groups.own_shards_.get();
  groups.copies_ = groups.own_copies_.get();
  return groups;
}

Status RankGroups::sum(Buffer full, Buffer held, Buffer part, Deadline deadline,
                       const std::function<void(FlightOp, const Buffer&)>& next) {
  if (shards_ != nullptr) TEPHRA_RETURN_IF_ERROR(reduce_scatter(*shards_, full, held, deadline));
  if (copies_ == nullptr) return ok_status();
  if (shards_ != nullptr) next(FlightOp::kCommReduceScatter, held);
  TEPHRA_RETURN_IF_ERROR(reduce_scatter(*copies_, held, part, deadline));
  next(FlightOp::kCommAllGather, held);
  return copies_->all_gather(part, held, deadline);
}

Status RankGroups::reduce_scatter(cluster::Communicator& over, Buffer full, Buffer shard, Deadline deadline) {
  return reduction_ == Reduction::kFast ? over.reduce_scatter_fast(full, shard, deadline)
                                        : over.reduce_scatter_tree(full, shard, deadline);
}

uint64_t RankGroups::sequence() const {
  uint64_t begun = all_->sequence();
  for (const auto* part : {own_shards_.get(), own_copies_.get()}) begun += part == nullptr ? 0 : part->sequence();
  return begun;
}

void RankGroups::abort(const Status& reason) {
  all_->abort(reason);
  for (auto* part : {own_shards_.get(), own_copies_.get()}) {
    if (part != nullptr) part->abort(reason);
  }
}

}  // namespace tephra::sharding
