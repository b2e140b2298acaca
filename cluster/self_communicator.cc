#include <cstring>
#include <mutex>

#include "cluster/collective.h"

namespace tephra::cluster {
namespace {

// World size 1: an ordinary group whose collectives are identities. Shares the checks with the others, so that a wrong
// call fails on a laptop as it does on a cluster.
class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int world_size() const override { return 1; }

  Status all_gather(ConstBuffer shard, Buffer full, Deadline) override {
    all_gather_header(++sequence_, shard, full, 1);
    TEPHRA_RETURN_IF_ERROR(failure());
    if (full.data != shard.data && shard.count > 0) std::memmove(full.data, shard.data, shard.size_bytes());
    return {};
  }
  Status reduce_scatter_tree(Buffer full, Buffer shard, Deadline) override {
    reduce_scatter_header(++sequence_, full, shard, 1);
    TEPHRA_RETURN_IF_ERROR(failure());
    if (full.data != shard.data && shard.count > 0) std::memmove(shard.data, full.data, shard.size_bytes());
    return {};
  }
  Status reduce_scatter_fast(Buffer full, Buffer shard, Deadline) override {
    reduce_scatter_fast_header(++sequence_, full, shard, 1);
    TEPHRA_RETURN_IF_ERROR(failure());
    if (shard.count > 0) std::memcpy(shard.data, full.data, shard.size_bytes());
    return {};
  }
  Status broadcast(Buffer data, int root, Deadline) override {
    broadcast_header(++sequence_, data, root, 1);
    return failure();
  }
  Status barrier(Deadline) override {
    ++sequence_;
    return failure();
  }
  Result<std::unique_ptr<Communicator>> split(int, Deadline) override {
    ++sequence_;
    TEPHRA_RETURN_IF_ERROR(failure());
    return make_self_communicator();
  }
  Status probe() override { return failure(); }
  void abort(const Status& reason) override {
    std::lock_guard lock(mutex_);
    if (failure_.ok()) failure_ = reason;
  }

 private:
  Status failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }

  std::mutex mutex_;
  Status failure_;
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() { return std::make_unique<SelfCommunicator>(); }

}  // namespace tephra::cluster
