// One process's (or thread's) membership of a fixed group of ranks. The transport is chosen when the group is made;
// callers cannot tell. Implementations: self (world size 1), threads (tests and one process), MPI (cluster/mpi), NCCL
// (cluster/nccl; its buffers are device memory, everyone else's are host memory).
//
// Threading: every method is called from one thread, the communication thread, and blocks it.
// Collective methods: all ranks call the same methods in the same order with equal count and dtype. Each call carries a
// sequence number; a rank that finds its peer in another collective returns kMismatch naming both.
// Ok: the output is complete. kPeerLost, kTimeout, kMismatch (retry class: new attempt): outputs are unspecified, the
// transport may still read and write both buffers of the failed call, and every later call returns the same status.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/dtype.h"
#include "base/status.h"

namespace tephra::cluster {

struct ConstBuffer {
  const void* data = nullptr;
  int64_t count = 0;  // elements, never bytes
  DType dtype = DType::kFloat32;
  int64_t size_bytes() const { return count * tephra::size_bytes(dtype); }
};

struct Buffer {
  void* data = nullptr;
  int64_t count = 0;
  DType dtype = DType::kFloat32;
  int64_t size_bytes() const { return count * tephra::size_bytes(dtype); }
  operator ConstBuffer() const { return {data, count, dtype}; }
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int world_size() const = 0;
  uint64_t sequence() const {
    return sequence_.load(std::memory_order_relaxed);
  }  // collectives begun so far; for heartbeats, any thread

  // Concatenates each rank's `shard` in rank order into `full` (world_size * shard.count elements) on every rank.
  // In place when shard.data is full.data + rank * shard bytes.
  virtual Status all_gather(ConstBuffer shard, Buffer full, Deadline deadline) = 0;

  // Sums `full` (float32, world_size * shard.count elements) over ranks and leaves slice `rank` in `shard`. World size
  // must be a power of two. The sum of each element is the fixed binary tree over ranks, nearest neighbours first
  // ((r0+r1)+(r2+r3))+...: recursive halving (Thakur et al. 2005) with distance 1 first, so that a rank's own sum over
  // a contiguous range of micro-batches continues the same tree whatever the world size. Uses `full` as scratch.
  virtual Status reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) = 0;

  // The same sum as the transport's library makes it: in an order of its own, which may depend on world size and
  // topology. `shard` lies apart from `full`. Any world size.
  virtual Status reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) = 0;

  virtual Status broadcast(Buffer data, int root, Deadline deadline) = 0;
  virtual Status barrier(Deadline deadline) = 0;

  // A further communicator over those ranks that give the same `group`, in their order here. Collective over all ranks.
  // A failure of one does not fail the other: who leaves says so to both. It may be used on this one's communication
  // thread only, and goes before it.
  virtual Result<std::unique_ptr<Communicator>> split(int group, Deadline deadline) = 0;

  // Ok, or the failure that the next collective would return: looks, without waiting, whether a peer has aborted. Not a
  // collective. For whoever waits for something else that a lost peer would have done.
  virtual Status probe() = 0;

  // Tells the peers that this rank is leaving, so that they fail with kPeerLost and do not wait. Any thread.
  virtual void abort(const Status& reason) = 0;

 protected:
  std::atomic<uint64_t> sequence_{0};
};

std::unique_ptr<Communicator> make_self_communicator();
// One communicator a thread; the group lives until the last is destroyed.
std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int world_size);

}  // namespace tephra::cluster
