// Ranks as threads of one process: buffers are read where they lie, between two meetings of all ranks.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "cluster/collective.h"
#include "cluster/tree_reduce.h"

namespace tephra::cluster {
namespace {

using Pieces = std::span<const std::span<const float>>;

// State shared by the ranks. One mutex and one condition for all: groups are small, and simple is what tests need.
class Group {
 public:
  explicit Group(int world_size)
      : world_size_(world_size),
        posted_(world_size),
        published_(world_size),
        arrived_(world_size),
        trades_(world_size),
        reading_(world_size) {}

  int world_size() const { return world_size_; }

  // Waits until every rank is here with an equal header. Afterwards data(r) is what rank r brought, until the next
  // meeting.
  Status meet(int rank, const CollectiveHeader& header, const void* data, Deadline deadline) {
    std::unique_lock lock(mutex_);
    stop_reading(rank);
    if (!failure_of(rank).ok()) return failed(lock, rank);
    const uint64_t generation = generation_;
    posted_[rank] = {header, data};
    arrived_[rank] = true;
    if (++arrived_count_ == world_size_) {
      complete_meeting();
    } else {
      TEPHRA_RETURN_IF_ERROR(wait(
          lock, rank, deadline, [&] { return generation_ != generation; },
          [&] { return "in " + header.to_string() + " for " + missing_ranks(); }));
    }
    if (meeting_.ok() && data != nullptr) start_reading(rank);
    return meeting_;
  }

  // Read without the lock: written before meet() let anyone go, and not again before all ranks came to the next
  // meeting.
  const void* data(int rank) const { return published_[rank].data; }

  // One round of trading between `rank` and `peer`. Rounds are counted on each rank; equal by the order of the rounds.
  Status trade(int rank, int peer, Pieces outgoing, const PairExchange::Consume& consume, Deadline deadline) {
    std::unique_lock lock(mutex_);
    if (!failure_of(rank).ok()) return failed(lock, rank);
    const uint64_t round = ++trades_[rank].offered;
    trades_[rank].pieces = outgoing;
    condition_.notify_all();
    auto where = [&] { return "in reduce_scatter_tree for rank " + std::to_string(peer); };
    TEPHRA_RETURN_IF_ERROR(wait(
        lock, rank, deadline, [&] { return trades_[peer].offered >= round; }, where));
    const Pieces incoming = trades_[peer].pieces;
    start_reading(rank);
    lock.unlock();
    for (size_t i = 0; i < incoming.size(); ++i) consume(i, 0, incoming[i]);
    lock.lock();
    stop_reading(rank);
    trades_[rank].taken = round;
    condition_.notify_all();
    return wait(
        lock, rank, deadline, [&] { return trades_[peer].taken >= round; }, where);
  }

  // A member that was destroyed does not count: it may have left in order, after the last collective.
  Status probe(int rank) {
    std::lock_guard lock(mutex_);
    return failure_of(rank);
  }

  void abort(int rank, const Status& reason) {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ = peer_lost(rank, reason.ok() ? "aborted" : reason.to_string());
    aborter_ = rank;
    aborter_failure_ = reason.ok() ? failure_ : reason;
    condition_.notify_all();
  }

  void leave(int rank) {
    std::lock_guard lock(mutex_);
    left_ = rank;
    condition_.notify_all();
  }

 private:
  struct Posted {
    CollectiveHeader header;
    const void* data = nullptr;
  };
  struct Trade {
    uint64_t offered = 0;
    uint64_t taken = 0;
    Pieces pieces;
  };

  Status failure_of(int rank) const { return rank == aborter_ ? aborter_failure_ : failure_; }

  void start_reading(int rank) {
    readers_ += reading_[rank] ? 0 : 1;
    reading_[rank] = true;
  }
  void stop_reading(int rank) {
    if (!reading_[rank]) return;
    reading_[rank] = false;
    if (--readers_ == 0) condition_.notify_all();
  }
  // What this rank published is its caller's again when its call returns, so those who still read are waited for: they copy, and
  // do not wait for anybody meanwhile.
  Status failed(std::unique_lock<std::mutex>& lock, int rank) {
    condition_.wait(lock, [&] { return readers_ == 0; });
    return failure_of(rank);
  }

  void complete_meeting() {
    std::vector<CollectiveHeader> headers;
    for (const Posted& p : posted_) headers.push_back(p.header);
    meeting_ = check_same_collective(headers);
    failure_ = meeting_;
    published_ = posted_;
    arrived_.assign(world_size_, false);
    arrived_count_ = 0;
    ++generation_;
    condition_.notify_all();
  }

  // done() counts before any failure: right after a collective a rank may abort, or destroy its communicator, while
  // others are still waking up from it.
  template <typename Done, typename Where>
  Status wait(std::unique_lock<std::mutex>& lock, int rank, Deadline deadline, Done done, Where where) {
    for (;;) {
      if (done()) return {};
      if (!failure_of(rank).ok()) return failed(lock, rank);
      if (left_ >= 0) {
        failure_ = peer_lost(left_, "its communicator was destroyed");
      } else if (deadline.passed()) {
        failure_ = Status(Code::kTimeout, RetryClass::kNewAttempt,
                          "rank " + std::to_string(rank) + " waited too long " + where());
      } else if (deadline.at == SteadyTime::max()) {
        condition_.wait(lock);
        continue;
      } else {
        condition_.wait_until(lock, deadline.at);
        continue;
      }
      condition_.notify_all();
    }
  }

  std::string missing_ranks() const {
    std::string text;
    for (int r = 0; r < world_size_; ++r) {
      if (!arrived_[r]) text += (text.empty() ? "rank " : ", rank ") + std::to_string(r);
    }
    return text;
  }

  const int world_size_;
  std::mutex mutex_;
  std::condition_variable condition_;
  // All below are guarded by mutex_ (published_: see data()).
  std::vector<Posted> posted_;
  std::vector<Posted> published_;
  std::vector<bool> arrived_;
  int arrived_count_ = 0;
  uint64_t generation_ = 0;
  Status meeting_;  // outcome of the last meeting
  std::vector<Trade> trades_;
  std::vector<bool> reading_;  // by rank: between the meeting that published data and its next word
  int readers_ = 0;
  Status failure_;  // the first one, for good
  int aborter_ = -1;
  Status aborter_failure_;
  int left_ = -1;
};

class ThreadCommunicator final : public Communicator, private PairExchange {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}
  ~ThreadCommunicator() override { group_->leave(rank_); }

  int rank() const override { return rank_; }
  int world_size() const override { return group_->world_size(); }

  Status all_gather(ConstBuffer shard, Buffer full, Deadline deadline) override {
    const CollectiveHeader header = all_gather_header(++sequence_, shard, full, world_size());
    TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, shard.data, deadline));
    const int64_t bytes = shard.size_bytes();
    for (int r = 0; r < world_size() && bytes > 0; ++r) {
      std::byte* to = static_cast<std::byte*>(full.data) + r * bytes;
      if (to != group_->data(r)) std::memcpy(to, group_->data(r), bytes);
    }
    return group_->meet(rank_, header, nullptr, deadline);  // nobody's shard may change before all have read it
  }

  Status reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) override {
    const CollectiveHeader header = reduce_scatter_header(++sequence_, full, shard, world_size());
    TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, nullptr, deadline));
    return cluster::reduce_scatter_tree(*this, rank_, world_size(),
                                        {static_cast<float*>(full.data), static_cast<size_t>(full.count)},
                                        {static_cast<float*>(shard.data), static_cast<size_t>(shard.count)}, deadline);
  }

  // In rank order: another order than the tree's from three ranks on, so that tests see who relies on the tree.
  Status reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) override {
    const CollectiveHeader header = reduce_scatter_fast_header(++sequence_, full, shard, world_size());
    TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, full.data, deadline));
    auto* out = static_cast<float*>(shard.data);
    std::fill_n(out, shard.count, 0.0f);
    for (int r = 0; r < world_size(); ++r) {
      const float* from = static_cast<const float*>(group_->data(r)) + rank_ * shard.count;
      for (int64_t i = 0; i < shard.count; ++i) out[i] += from[i];
    }
    return group_->meet(rank_, header, nullptr, deadline);  // nobody's buffer may change before all have read it
  }

  Status broadcast(Buffer data, int root, Deadline deadline) override {
    const CollectiveHeader header = broadcast_header(++sequence_, data, root, world_size());
    TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, data.data, deadline));
    if (rank_ != root && data.count > 0) std::memcpy(data.data, group_->data(root), data.size_bytes());
    return group_->meet(rank_, header, nullptr, deadline);
  }

  Status barrier(Deadline deadline) override {
    return group_->meet(rank_, barrier_header(++sequence_), nullptr, deadline);
  }

  Result<std::unique_ptr<Communicator>> split(int group, Deadline deadline) override;
  Status probe() override { return group_->probe(rank_); }
  void abort(const Status& reason) override { group_->abort(rank_, reason); }

 private:
  Status exchange(int peer, Pieces outgoing, const Consume& consume, Deadline deadline) override {
    return group_->trade(rank_, peer, outgoing, consume, deadline);
  }

  std::shared_ptr<Group> group_;  // shared by the ranks; gone with the last
  const int rank_;
};

// The first rank of each new group makes it, and the others take it from where that one left it.
Result<std::unique_ptr<Communicator>> ThreadCommunicator::split(int group, Deadline deadline) {
  struct Offer {
    int group;
    std::shared_ptr<Group> made;
  };
  Offer mine{group, nullptr};
  const CollectiveHeader header = split_header(++sequence_);
  TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, &mine, deadline));
  const auto offer = [&](int rank) { return static_cast<const Offer*>(group_->data(rank)); };
  std::vector<int> members;
  for (int r = 0; r < world_size(); ++r) {
    if (offer(r)->group == group) members.push_back(r);
  }
  if (members.front() == rank_) mine.made = std::make_shared<Group>(static_cast<int>(members.size()));
  TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, &mine, deadline));
  auto made = offer(members.front())->made;
  TEPHRA_RETURN_IF_ERROR(group_->meet(rank_, header, nullptr, deadline));  // until here the offers have to stay
  const auto place = std::find(members.begin(), members.end(), rank_) - members.begin();
  return std::unique_ptr<Communicator>(std::make_unique<ThreadCommunicator>(std::move(made), static_cast<int>(place)));
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int world_size) {
  TEPHRA_CHECK(world_size >= 1, "make_thread_communicators: no ranks");
  auto group = std::make_shared<Group>(world_size);
  std::vector<std::unique_ptr<Communicator>> members;
  for (int r = 0; r < world_size; ++r) members.push_back(std::make_unique<ThreadCommunicator>(group, r));
  return members;
}

}  // namespace tephra::cluster
