// Everything is nonblocking MPI plus one polling loop, because only then does a deadline mean anything: a blocking MPI
// call with a dead or absent peer never returns. The loop also looks for a peer's goodbye (abort()), which is a message
// of its own tag.
//
// Measured with Open MPI 4.1 on one host, 2 ranks, 64 MiB: the library's reduce-scatter 47 ms, pairwise trading in 1
// MiB chunks, four in flight, 11.5 ms.
#include "cluster/mpi/mpi_communicator.h"

#include <mpi.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "cluster/backoff.h"
#include "cluster/collective.h"
#include "cluster/tree_reduce.h"

namespace tephra::cluster {
namespace {

constexpr int kDataTag = 1;
constexpr int kAbortTag = 2;
constexpr size_t kChunkFloats = (1u << 20) / sizeof(float);
constexpr int kChunksInFlight = 4;
constexpr int64_t kPieceBytesMax = int64_t{1} << 30;  // MPI counts are int
constexpr size_t kReasonBytes = 256;

std::atomic<bool> any_failed{false};  // MPI_Finalize would hang
std::mutex mpi_mutex;                 // held around every MPI call: the thread level is SERIALIZED

Status mpi_status(int code, const char* call) {
  if (code == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
  int error_class = MPI_ERR_OTHER;
  MPI_Error_class(code, &error_class);
  const std::string message = std::string(call) + ": " + std::string(text, length);
  switch (error_class) {
    case MPI_ERR_TRUNCATE: return {Code::kMismatch, RetryClass::kNewAttempt, message};
    case MPI_ERR_NO_MEM: return {Code::kInternal, RetryClass::kNewAttempt, message};
    default: return {Code::kPeerLost, RetryClass::kNewAttempt, message};  // a transport error: the peer is out of reach
  }
}

// What a failed collective left under way may still be read and written while the process goes on over other communicators, and
// a collective cannot be cancelled: such memory is never given back.
void keep_for_ever(std::shared_ptr<const void> memory) {
  static std::mutex mutex;
  static auto* kept = new std::vector<std::shared_ptr<const void>>;  // not destroyed, so that it outlives MPI
  std::lock_guard lock(mutex);
  kept->push_back(std::move(memory));
}

// The ranks' headers on their way.
struct Meeting {
  CollectiveHeader mine;
  std::vector<CollectiveHeader> all;
  std::vector<MPI_Request> requests;
};

class MpiCommunicator final : public Communicator, private PairExchange {
 public:
  static Result<std::unique_ptr<Communicator>> make() {
    auto self = std::unique_ptr<MpiCommunicator>(new MpiCommunicator);
    {
      std::lock_guard lock(mpi_mutex);
      TEPHRA_RETURN_IF_ERROR(
          mpi_status(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
      TEPHRA_RETURN_IF_ERROR(mpi_status(MPI_Comm_dup(MPI_COMM_WORLD, &self->comm_), "MPI_Comm_dup"));
      TEPHRA_RETURN_IF_ERROR(self->start());
    }
    return std::unique_ptr<Communicator>(std::move(self));
  }
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  Status all_gather(ConstBuffer shard, Buffer full, Deadline deadline) override;
  Status reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) override;
  Status reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) override;
  Status broadcast(Buffer data, int root, Deadline deadline) override;
  Status barrier(Deadline deadline) override { return meet(barrier_header(++sequence_), deadline); }
  Result<std::unique_ptr<Communicator>> split(int group, Deadline deadline) override;
  Status probe() override;
  void abort(const Status& reason) override;

 private:
  MpiCommunicator() = default;
  Status start();  // with mpi_mutex held, when comm_ is there
  Status meet(const CollectiveHeader& header, Deadline deadline);
  Status exchange(int peer, std::span<const std::span<const float>> outgoing, const Consume& consume,
                  Deadline deadline) override;
  // Polls until `step` says done (true), fails, a peer leaves, or the deadline passes. `step` runs with mutex_ held and
  // sets `progress` when something moved.
  Status poll(Deadline deadline, const std::function<Result<bool>(bool& progress)>& step);
  Status wait_all(std::vector<MPI_Request>& requests, Deadline deadline);
  Status check_goodbye();      // with mutex_ held
  Status fail(Status status);  // with mutex_ held: the first failure stays
  Status failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }

  std::mutex& mutex_ = mpi_mutex;
  Status failure_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int world_size_ = 1;
  CollectiveHeader current_;  // for the words of a timeout; communication thread only
  MPI_Request goodbye_ = MPI_REQUEST_NULL;
  char goodbye_text_[kReasonBytes] = {};
  char own_goodbye_[kReasonBytes] = {};
  bool said_goodbye_ = false;
  std::vector<float> scratch_;  // kChunksInFlight chunks
};

Status MpiCommunicator::start() {
  TEPHRA_RETURN_IF_ERROR(mpi_status(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &world_size_);
  return mpi_status(MPI_Irecv(goodbye_text_, kReasonBytes, MPI_BYTE, MPI_ANY_SOURCE, kAbortTag, comm_, &goodbye_),
                    "MPI_Irecv");
}

MpiCommunicator::~MpiCommunicator() {
  std::lock_guard lock(mutex_);
  if (comm_ == MPI_COMM_NULL) return;
  if (goodbye_ != MPI_REQUEST_NULL) {  // its buffer is a part of this object; cancelling a receive asks no other rank
    MPI_Cancel(&goodbye_);
    MPI_Wait(&goodbye_, MPI_STATUS_IGNORE);
  }
  if (failure_.ok()) {
    MPI_Comm_free(&comm_);
  } else {
    keep_for_ever(std::make_shared<std::vector<float>>(std::move(scratch_)));
  }
}

Status MpiCommunicator::fail(Status status) {
  if (failure_.ok()) failure_ = std::move(status);
  any_failed = true;
  return failure_;
}

Status MpiCommunicator::check_goodbye() {
  int flag = 0;
  MPI_Status from;
  TEPHRA_RETURN_IF_ERROR(mpi_status(MPI_Test(&goodbye_, &flag, &from), "MPI_Test"));
  if (!flag) return {};
  goodbye_text_[kReasonBytes - 1] = 0;
  return peer_lost(from.MPI_SOURCE, goodbye_text_);
}

Status MpiCommunicator::poll(Deadline deadline, const std::function<Result<bool>(bool& progress)>& step) {
  Backoff backoff;
  for (;;) {
    bool progress = false;
    {
      std::lock_guard lock(mutex_);
      if (!failure_.ok()) return failure_;
      // The goodbye is looked for first: what its sender did before it has then arrived too, so a collective that the
      // sender completed can complete here, and the next one fails.
      const Status gone = check_goodbye();
      Result<bool> done = step(progress);
      if (!gone.ok()) (void)fail(gone);
      if (!done.ok()) return fail(done.status());
      if (*done) return {};
      if (!gone.ok()) return failure_;
      if (deadline.passed()) {
        return fail({Code::kTimeout, RetryClass::kNewAttempt,
                     "rank " + std::to_string(rank_) + " waited too long in " + current_.to_string()});
      }
    }
    progress ? backoff.progress() : backoff.idle();
  }
}

Status MpiCommunicator::wait_all(std::vector<MPI_Request>& requests, Deadline deadline) {
  return poll(deadline, [&](bool&) -> Result<bool> {
    int flag = 0;
    const int code = MPI_Testall(static_cast<int>(requests.size()), requests.data(), &flag, MPI_STATUSES_IGNORE);
    if (Status status = mpi_status(code, "MPI_Testall"); !status.ok()) return status;
    return flag != 0;
  });
}

Status MpiCommunicator::meet(const CollectiveHeader& header, Deadline deadline) {
  current_ = header;
  const auto meeting =
      std::make_shared<Meeting>(Meeting{header, std::vector<CollectiveHeader>(world_size_), {MPI_REQUEST_NULL}});
  {
    std::lock_guard lock(mutex_);
    if (!failure_.ok()) return failure_;
    const int code = MPI_Iallgather(&meeting->mine, sizeof(CollectiveHeader), MPI_BYTE, meeting->all.data(),
                                    sizeof(CollectiveHeader), MPI_BYTE, comm_, meeting->requests.data());
    if (Status status = mpi_status(code, "MPI_Iallgather"); !status.ok()) return fail(status);
  }
  if (Status status = wait_all(meeting->requests, deadline); !status.ok()) {
    keep_for_ever(meeting);
    return status;
  }
  if (Status same = check_same_collective(meeting->all); !same.ok()) {
    std::lock_guard lock(mutex_);
    return fail(same);
  }
  return {};
}

Status MpiCommunicator::all_gather(ConstBuffer shard, Buffer full, Deadline deadline) {
  const CollectiveHeader header = all_gather_header(++sequence_, shard, full, world_size_);
  TEPHRA_RETURN_IF_ERROR(meet(header, deadline));
  const int64_t bytes = shard.size_bytes();
  std::byte* base = static_cast<std::byte*>(full.data);
  if (bytes > 0 && base + rank_ * bytes != shard.data) std::memcpy(base + rank_ * bytes, shard.data, bytes);

  std::vector<MPI_Request> requests;
  {
    std::lock_guard lock(mutex_);
    auto post = [&](int code, const char* call) {
      Status status = mpi_status(code, call);
      return status.ok() ? status : fail(status);
    };
    // All receives before any send, and each rank starts with another peer, so that data goes straight to its place.
    for (const bool receiving : {true, false}) {
      for (int k = 1; k < world_size_; ++k) {
        const int peer = receiving ? (rank_ - k + world_size_) % world_size_ : (rank_ + k) % world_size_;
        std::byte* place = base + (receiving ? peer : rank_) * bytes;
        for (int64_t at = 0; at < bytes; at += kPieceBytesMax) {
          const int size = static_cast<int>(std::min(bytes - at, kPieceBytesMax));
          requests.push_back(MPI_REQUEST_NULL);
          TEPHRA_RETURN_IF_ERROR(
              receiving
                  ? post(MPI_Irecv(place + at, size, MPI_BYTE, peer, kDataTag, comm_, &requests.back()), "MPI_Irecv")
                  : post(MPI_Isend(place + at, size, MPI_BYTE, peer, kDataTag, comm_, &requests.back()), "MPI_Isend"));
        }
      }
    }
  }
  return wait_all(requests, deadline);
}

Status MpiCommunicator::reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(reduce_scatter_header(++sequence_, full, shard, world_size_), deadline));
  return cluster::reduce_scatter_tree(*this, rank_, world_size_,
                                      {static_cast<float*>(full.data), static_cast<size_t>(full.count)},
                                      {static_cast<float*>(shard.data), static_cast<size_t>(shard.count)}, deadline);
}

Status MpiCommunicator::reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(reduce_scatter_fast_header(++sequence_, full, shard, world_size_), deadline));
  std::vector<MPI_Request> requests(1, MPI_REQUEST_NULL);
  {
    std::lock_guard lock(mutex_);
    if (shard.count > std::numeric_limits<int>::max()) {
      return fail({Code::kUnsupported, RetryClass::kPermanent,
                   "MPI reduces at most " + std::to_string(std::numeric_limits<int>::max()) +
                       " elements a rank by itself, and this shard has " + std::to_string(shard.count) +
                       "; use reduction: tree, or more ranks"});
    }
    const int code = MPI_Ireduce_scatter_block(full.data, shard.data, static_cast<int>(shard.count), MPI_FLOAT, MPI_SUM,
                                               comm_, requests.data());
    if (Status status = mpi_status(code, "MPI_Ireduce_scatter_block"); !status.ok()) return fail(status);
  }
  return wait_all(requests, deadline);
}

// MPI's split waits without a deadline. Every rank has just met the others, so only one that dies between the two leaves
// them waiting, for the gang's end.
Result<std::unique_ptr<Communicator>> MpiCommunicator::split(int group, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(split_header(++sequence_), deadline));
  auto made = std::unique_ptr<MpiCommunicator>(new MpiCommunicator);
  std::lock_guard lock(mutex_);
  Status status = mpi_status(MPI_Comm_split(comm_, group, rank_, &made->comm_), "MPI_Comm_split");
  if (status.ok()) status = made->start();
  if (!status.ok()) return fail(status);
  return std::unique_ptr<Communicator>(std::move(made));
}

Status MpiCommunicator::broadcast(Buffer data, int root, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(broadcast_header(++sequence_, data, root, world_size_), deadline));
  std::byte* base = static_cast<std::byte*>(data.data);
  std::vector<MPI_Request> requests;
  {
    std::lock_guard lock(mutex_);
    for (int64_t at = 0; at < data.size_bytes(); at += kPieceBytesMax) {
      requests.push_back(MPI_REQUEST_NULL);
      const int size = static_cast<int>(std::min(data.size_bytes() - at, kPieceBytesMax));
      Status status = mpi_status(MPI_Ibcast(base + at, size, MPI_BYTE, root, comm_, &requests.back()), "MPI_Ibcast");
      if (!status.ok()) return fail(status);
    }
  }
  return wait_all(requests, deadline);
}

// One pairwise trade in chunks. Receives go to scratch slots and are added from there while the next ones arrive; sends
// leave from where the data lies. Messages of one pair and tag arrive in order, so a slot knows its chunk when it is
// posted.
class ChunkedTrade {
 public:
  ChunkedTrade(MPI_Comm comm, int peer, std::span<const std::span<const float>> outgoing, float* scratch)
      : comm_(comm), peer_(peer), outgoing_(outgoing), scratch_(scratch) {
    for (size_t i = 0; i < outgoing.size(); ++i) {
      for (size_t at = 0; at < outgoing[i].size(); at += kChunkFloats) {
        chunks_.push_back({i, at, std::min(kChunkFloats, outgoing[i].size() - at)});
      }
    }
    requests_.assign(size_t{2} * kChunksInFlight, MPI_REQUEST_NULL);
    slot_chunk_.resize(kChunksInFlight);
  }

  Result<bool> step(bool& progress, const PairExchange::Consume& consume) {
    for (int slot = 0; slot < kChunksInFlight; ++slot) {
      if (requests_[slot] == MPI_REQUEST_NULL) TEPHRA_RETURN_IF_ERROR(post_receive(slot));
      if (requests_[kChunksInFlight + slot] == MPI_REQUEST_NULL) TEPHRA_RETURN_IF_ERROR(post_send(slot));
    }
    int count = 0;
    int done[2 * kChunksInFlight];
    const int code = MPI_Testsome(2 * kChunksInFlight, requests_.data(), &count, done, MPI_STATUSES_IGNORE);
    TEPHRA_RETURN_IF_ERROR(mpi_status(code, "MPI_Testsome"));
    if (count == MPI_UNDEFINED) return true;  // nothing posted and nothing left to post
    for (int i = 0; i < count; ++i) {
      progress = true;
      if (done[i] >= kChunksInFlight) continue;
      const Chunk& chunk = chunks_[slot_chunk_[done[i]]];
      consume(chunk.piece, chunk.offset, {scratch_ + done[i] * kChunkFloats, chunk.size});
    }
    return false;
  }

 private:
  struct Chunk {
    size_t piece, offset, size;  // floats
  };

  Status post_receive(int slot) {
    if (received_ == chunks_.size()) return {};
    slot_chunk_[slot] = received_;
    const int bytes = static_cast<int>(chunks_[received_++].size * sizeof(float));
    return mpi_status(
        MPI_Irecv(scratch_ + slot * kChunkFloats, bytes, MPI_BYTE, peer_, kDataTag, comm_, &requests_[slot]),
        "MPI_Irecv");
  }
  Status post_send(int slot) {
    if (sent_ == chunks_.size()) return {};
    const Chunk& chunk = chunks_[sent_++];
    return mpi_status(
        MPI_Isend(outgoing_[chunk.piece].data() + chunk.offset, static_cast<int>(chunk.size * sizeof(float)), MPI_BYTE,
                  peer_, kDataTag, comm_, &requests_[kChunksInFlight + slot]),
        "MPI_Isend");
  }

  MPI_Comm comm_;
  int peer_;
  std::span<const std::span<const float>> outgoing_;
  float* scratch_;
  std::vector<Chunk> chunks_;
  size_t received_ = 0;  // chunks posted so far
  size_t sent_ = 0;
  std::vector<MPI_Request> requests_;  // receives, then sends
  std::vector<size_t> slot_chunk_;
};

Status MpiCommunicator::exchange(int peer, std::span<const std::span<const float>> outgoing, const Consume& consume,
                                 Deadline deadline) {
  scratch_.resize(kChunksInFlight * kChunkFloats);
  ChunkedTrade trade(comm_, peer, outgoing, scratch_.data());
  return poll(deadline, [&](bool& progress) { return trade.step(progress, consume); });
}

Status MpiCommunicator::probe() {
  std::lock_guard lock(mutex_);
  if (!failure_.ok()) return failure_;
  const Status gone = check_goodbye();
  return gone.ok() ? gone : fail(gone);
}

void MpiCommunicator::abort(const Status& reason) {
  std::lock_guard lock(mutex_);
  if (said_goodbye_) return;
  said_goodbye_ = true;  // even after a failure: a rank that timed out alone is still waited for
  const std::string text = reason.ok() ? "aborted" : reason.to_string();
  std::strncpy(own_goodbye_, text.c_str(), kReasonBytes - 1);
  std::vector<MPI_Request> requests;
  for (int r = 0; r < world_size_; ++r) {
    if (r == rank_) continue;
    requests.push_back(MPI_REQUEST_NULL);
    if (MPI_Isend(own_goodbye_, kReasonBytes, MPI_BYTE, r, kAbortTag, comm_, &requests.back()) != MPI_SUCCESS) {
      requests.pop_back();
    }
  }
  // Small messages are usually gone at once; a connection that is only now being made needs a moment.
  int flag = 0;
  for (int i = 0; i < 200 && !flag; ++i) {
    if (MPI_Testall(static_cast<int>(requests.size()), requests.data(), &flag, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
      break;
    if (!flag) usleep(1000);
  }
  (void)fail(reason.ok() ? peer_lost(rank_, text) : reason);
}

}  // namespace

Status mpi_init() {
  int provided = MPI_THREAD_SINGLE;
  TEPHRA_RETURN_IF_ERROR(
      mpi_status(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread"));
  if (provided < MPI_THREAD_SERIALIZED) {
    return {Code::kUnsupported, "this MPI library gives thread level " + std::to_string(provided) +
                                    " of 3 and Tephra needs MPI_THREAD_SERIALIZED (2); use an MPI built with threads"};
  }
  return {};
}

void mpi_finalize() {
  if (!any_failed) MPI_Finalize();
}

Result<std::unique_ptr<Communicator>> make_mpi_communicator() { return MpiCommunicator::make(); }

}  // namespace tephra::cluster
