// The communicators of one rank: all ranks; those that divide one copy of the state with it (its shard group); and those
// that hold the same shard of the other copies. Where there is one copy, the shard group is all ranks and it stands alone
// in its shard; where each rank holds one, the other way round. Threading: as Communicator; abort() from any thread.
#pragma once

#include <functional>
#include <memory>

#include "base/flight.h"
#include "cluster/communicator.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {

class RankGroups {
 public:
  // Sums `full` (float32) over all ranks and leaves this rank's shard of it in `held`; both are the same where each rank
  // holds a whole copy. full: scratch otherwise. part: scratch of 1 / world_size of the full count, where there are
  // several copies. next: told of each collective that is begun after the first, and what it sums or fills.
  Status sum(cluster::Buffer full, cluster::Buffer held, cluster::Buffer part, Deadline deadline,
             const std::function<void(FlightOp, const cluster::Buffer&)>& next);

  cluster::Communicator& all() const { return *all_; }
  cluster::Communicator& shards() const { return *shards_; }  // what gathers go over
  int shard_ranks() const { return shards_ == nullptr ? 1 : shards_->world_size(); }
  int copies() const { return copies_ == nullptr ? 1 : copies_->world_size(); }

  uint64_t sequence() const;         // collectives begun so far, over all of them; any thread
  void abort(const Status& reason);  // leaves all of them

 private:
  friend Result<RankGroups> make_rank_groups(cluster::Communicator* all, const Policy& policy, Deadline deadline);
  Status reduce_scatter(cluster::Communicator& over, cluster::Buffer full, cluster::Buffer shard, Deadline deadline);

  cluster::Communicator* all_ = nullptr;
  std::unique_ptr<cluster::Communicator> own_shards_, own_copies_;  // hybrid: parts of `all`
  cluster::Communicator* shards_ = nullptr;                         // null: this rank alone
  cluster::Communicator* copies_ = nullptr;                         // null: this rank alone
  Reduction reduction_ = Reduction::kTree;
};

// `all` outlives the groups. Collective over `all`, which a hybrid policy splits; its failures.
Result<RankGroups> make_rank_groups(cluster::Communicator* all, const Policy& policy, Deadline deadline);

}  // namespace tephra::sharding
