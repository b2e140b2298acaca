// NCCL is used in its nonblocking mode and the stream is polled, for the reason that MPI is polled: only then do a
// deadline and a peer's goodbye mean anything. A collective is
//   meet   the ranks compare headers over the control group, so that NCCL never sees two different calls,
//   queue  NCCL's calls and the additions go to one stream,
//   finish poll the stream's event, NCCL's asynchronous error, the control group and the clock.
#include "cluster/nccl/nccl_communicator.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <functional>

#include "cluster/backoff.h"
#include "cluster/collective.h"
#include "cluster/nccl/tree_add.h"
#include "cluster/tree_reduce.h"

namespace tephra::cluster {
namespace {

// What one exchange of the reduce-scatter may hold besides the caller's buffers.
constexpr size_t kScratchFloats = (size_t{64} << 20) / sizeof(float);
// The orderly end flushes what is already complete; a peer that is gone must not hold it up for long.
constexpr std::chrono::seconds kFinalizeTime{10};

Status cuda_status(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return {};
  const std::string message = std::string(call) + ": " + cudaGetErrorString(code);
  switch (code) {
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorInsufficientDriver: return {Code::kUnavailable, RetryClass::kNeedsOperator, message};
    default: return {Code::kInternal, RetryClass::kNewAttempt, message};
  }
}

Status nccl_status(ncclResult_t code, const char* call, ncclComm_t comm) {
  if (code == ncclSuccess || code == ncclInProgress) return {};
  std::string message = std::string(call) + ": " + ncclGetErrorString(code);
  if (const char* detail = ncclGetLastError(comm); detail != nullptr && *detail != '\0') {
    message += std::string(" (") + detail + ")";
  }
  const bool transport = code == ncclRemoteError || code == ncclSystemError;
  return {transport ? Code::kPeerLost : Code::kInternal, RetryClass::kNewAttempt, message};
}

// Owns what `destroy` ends; a null value is none.
template <typename T, cudaError_t (*destroy)(T)>
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (value_ != T{}) (void)destroy(value_);
  }
  T get() const { return value_; }
  T* out() { return &value_; }

 private:
  T value_{};
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<Communicator> control, int device)
      : control_(std::move(control)), rank_(control_->rank()), world_size_(control_->world_size()), device_(device) {}
  ~NcclCommunicator() override;
  Status start(Deadline deadline);

  int rank() const override { return rank_; }
  int world_size() const override { return world_size_; }
  Status all_gather(ConstBuffer shard, Buffer full, Deadline deadline) override;
  Status reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) override;
  Status reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) override;
  Status broadcast(Buffer data, int root, Deadline deadline) override;
  Status barrier(Deadline deadline) override { return meet(barrier_header(++sequence_), deadline); }
  Result<std::unique_ptr<Communicator>> split(int group, Deadline deadline) override;
  Status probe() override { return failure_.ok() ? failed_unless_ok(control_->probe()) : failure_; }
  // Only the control group is told: the communication thread looks there while it waits, so NCCL keeps one user.
  void abort(const Status& reason) override { control_->abort(reason); }

 private:
  Status prepare_device();
  Status open(Deadline deadline);
  Status meet(const CollectiveHeader& header, Deadline deadline);
  Status queue_tree(const Buffer& full, const Buffer& shard, Deadline deadline);
  Status trade(const TreeRound& round, const Buffer& full, const Buffer& shard, size_t at, size_t count,
               Deadline deadline);
  // Waits until NCCL has taken the call whose result is given, so that the next one may follow.
  Status settle(ncclResult_t result, const char* call, Deadline deadline);
  Status finish(Deadline deadline);  // waits for the stream
  Status wait(Deadline deadline, const std::function<Result<bool>()>& done);
  Status nccl_error();  // what NCCL has found by itself since
  // The first failure stays, and ends the NCCL communicator.
  Status fail(Status status);
  Status failed_unless_ok(Status status) { return status.ok() ? status : fail(std::move(status)); }

  // All of this is the communication thread's; abort() touches control_ alone.
  std::unique_ptr<Communicator> control_;
  const int rank_;
  const int world_size_;
  const int device_;
  Status failure_;
  std::string current_ = "start";  // for the words of a timeout
  Handle<cudaStream_t, cudaStreamDestroy> stream_;
  Handle<cudaEvent_t, cudaEventDestroy> event_;
  Handle<void*, cudaFree> scratch_;
  ncclComm_t comm_ = nullptr;
};

NcclCommunicator::~NcclCommunicator() {
  if (comm_ == nullptr) return;  // never started, or ended by fail()
  if (cudaSetDevice(device_) != cudaSuccess) return;
  const Deadline deadline = Deadline::after(kFinalizeTime);
  current_ = "the communicator's end";
  if (settle(ncclCommFinalize(comm_), "ncclCommFinalize", deadline).ok()) (void)ncclCommDestroy(comm_);
}

Status NcclCommunicator::fail(Status status) {
  if (!failure_.ok()) return failure_;
  failure_ = std::move(status);
  if (comm_ != nullptr) (void)ncclCommAbort(comm_);
  comm_ = nullptr;
  return failure_;
}

Status NcclCommunicator::start(Deadline deadline) {
  Status status = prepare_device();
  if (status.ok()) status = open(deadline);
  if (!status.ok()) {
    (void)fail(status);
    control_->abort(status);  // or the others would wait for this rank
  }
  return status;
}

Status NcclCommunicator::prepare_device() {
  const NcclDevices devices = nccl_devices();
  if (device_ < 0 || device_ >= devices.count) {
    const std::string cause = devices.count == 0 ? devices.none_because
                                                 : "device " + std::to_string(device_) +
                                                       " was asked for and there are " + std::to_string(devices.count);
    return {Code::kUnavailable, RetryClass::kNeedsOperator,
            "rank " + std::to_string(rank_) + " has no CUDA device: " + cause + "; install a driver for CUDA " +
                std::to_string(CUDART_VERSION / 1000) +
                " on a machine with GPUs, start no more ranks on it than it has GPUs, or run without GPUs"};
  }
  TEPHRA_RETURN_IF_ERROR(cuda_status(cudaSetDevice(device_), "cudaSetDevice"));
  // Not the default stream: that one would wait for, and hold up, the compute thread's kernels.
  TEPHRA_RETURN_IF_ERROR(
      cuda_status(cudaStreamCreateWithFlags(stream_.out(), cudaStreamNonBlocking), "cudaStreamCreate"));
  return cuda_status(cudaEventCreateWithFlags(event_.out(), cudaEventDisableTiming), "cudaEventCreate");
}

Status NcclCommunicator::open(Deadline deadline) {
  ncclUniqueId id = {};
  if (rank_ == 0) TEPHRA_RETURN_IF_ERROR(nccl_status(ncclGetUniqueId(&id), "ncclGetUniqueId", nullptr));
  TEPHRA_RETURN_IF_ERROR(control_->broadcast({&id, sizeof(id), DType::kUInt8}, 0, deadline));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return settle(ncclCommInitRankConfig(&comm_, world_size_, id, rank_, &config), "ncclCommInitRankConfig", deadline);
}

Status NcclCommunicator::nccl_error() {
  ncclResult_t found = ncclSuccess;
  TEPHRA_RETURN_IF_ERROR(nccl_status(ncclCommGetAsyncError(comm_, &found), "ncclCommGetAsyncError", comm_));
  return nccl_status(found, "NCCL", comm_);
}

Status NcclCommunicator::wait(Deadline deadline, const std::function<Result<bool>()>& done) {
  Backoff backoff;
  for (;;) {
    // Goodbyes are looked for first, and count after completion: what a peer did before it left has then arrived too.
    const Status gone = control_->probe();
    const Result<bool> result = done();
    if (!result.ok()) return fail(gone.ok() ? result.status() : gone);
    if (*result) return {};
    if (!gone.ok()) return fail(gone);
    if (deadline.passed()) {
      return fail({Code::kTimeout, RetryClass::kNewAttempt,
                   "rank " + std::to_string(rank_) + " waited too long in " + current_});
    }
    backoff.idle();
  }
}

Status NcclCommunicator::settle(ncclResult_t result, const char* call, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(failed_unless_ok(nccl_status(result, call, comm_)));
  return wait(deadline, [&]() -> Result<bool> {
    ncclResult_t state = ncclSuccess;
    TEPHRA_RETURN_IF_ERROR(nccl_status(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError", comm_));
    TEPHRA_RETURN_IF_ERROR(nccl_status(state, call, comm_));
    return state != ncclInProgress;
  });
}

Status NcclCommunicator::finish(Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(
      failed_unless_ok(cuda_status(cudaEventRecord(event_.get(), stream_.get()), "cudaEventRecord")));
  return wait(deadline, [&]() -> Result<bool> {
    TEPHRA_RETURN_IF_ERROR(nccl_error());
    const cudaError_t state = cudaEventQuery(event_.get());
    if (state == cudaErrorNotReady) return false;
    TEPHRA_RETURN_IF_ERROR(cuda_status(state, "cudaEventQuery"));
    return true;
  });
}

Status NcclCommunicator::meet(const CollectiveHeader& header, Deadline deadline) {
  if (!failure_.ok()) return failure_;
  current_ = header.to_string();
  TEPHRA_RETURN_IF_ERROR(failed_unless_ok(cuda_status(cudaSetDevice(device_), "cudaSetDevice")));
  std::vector<CollectiveHeader> headers(world_size_);
  const int64_t bytes = sizeof(CollectiveHeader);
  const Status met = control_->all_gather({&header, bytes, DType::kUInt8},
                                          {headers.data(), bytes * world_size_, DType::kUInt8}, deadline);
  if (!met.ok()) return fail(met.with_context(current_));  // the control group knows only its own collectives
  return failed_unless_ok(check_same_collective(headers));
}

Status NcclCommunicator::all_gather(ConstBuffer shard, Buffer full, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(all_gather_header(++sequence_, shard, full, world_size_), deadline));
  if (shard.count == 0) return {};
  const auto bytes = static_cast<size_t>(shard.size_bytes());
  TEPHRA_RETURN_IF_ERROR(
      settle(ncclAllGather(shard.data, full.data, bytes, ncclUint8, comm_, stream_.get()), "ncclAllGather", deadline));
  return finish(deadline);
}

Status NcclCommunicator::broadcast(Buffer data, int root, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(broadcast_header(++sequence_, data, root, world_size_), deadline));
  if (data.count == 0) return {};
  const auto bytes = static_cast<size_t>(data.size_bytes());
  TEPHRA_RETURN_IF_ERROR(settle(ncclBroadcast(data.data, data.data, bytes, ncclUint8, root, comm_, stream_.get()),
                                "ncclBroadcast", deadline));
  return finish(deadline);
}

Status NcclCommunicator::reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(reduce_scatter_header(++sequence_, full, shard, world_size_), deadline));
  if (shard.count == 0) return {};
  TEPHRA_RETURN_IF_ERROR(failed_unless_ok(queue_tree(full, shard, deadline)));
  return finish(deadline);
}

Status NcclCommunicator::reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(reduce_scatter_fast_header(++sequence_, full, shard, world_size_), deadline));
  if (shard.count == 0) return {};
  TEPHRA_RETURN_IF_ERROR(settle(ncclReduceScatter(full.data, shard.data, static_cast<size_t>(shard.count), ncclFloat32,
                                                  ncclSum, comm_, stream_.get()),
                                "ncclReduceScatter", deadline));
  return finish(deadline);
}

// A group of its own from the start, over a part of the control group: what ncclCommSplit would share with this one
// would also end with it.
Result<std::unique_ptr<Communicator>> NcclCommunicator::split(int group, Deadline deadline) {
  TEPHRA_RETURN_IF_ERROR(meet(split_header(++sequence_), deadline));
  Result<std::unique_ptr<Communicator>> control = control_->split(group, deadline);
  if (!control.ok()) return fail(control.status());
  return make_nccl_communicator(std::move(*control), device_, deadline);
}

Status NcclCommunicator::queue_tree(const Buffer& full, const Buffer& shard, Deadline deadline) {
  if (world_size_ == 1) {
    if (full.data == shard.data) return {};
    const auto bytes = static_cast<size_t>(shard.size_bytes());
    return cuda_status(cudaMemcpyAsync(shard.data, full.data, bytes, cudaMemcpyDeviceToDevice, stream_.get()),
                       "cudaMemcpyAsync");
  }
  if (scratch_.get() == nullptr) {
    TEPHRA_RETURN_IF_ERROR(cuda_status(cudaMalloc(scratch_.out(), kScratchFloats * sizeof(float)), "cudaMalloc"));
  }
  const auto slice_size = static_cast<size_t>(shard.count);
  for (const TreeRound& round : tree_rounds(rank_, world_size_)) {
    const size_t part = std::min(slice_size, kScratchFloats / round.kept.size());
    for (size_t at = 0; at < slice_size; at += part) {
      TEPHRA_RETURN_IF_ERROR(trade(round, full, shard, at, std::min(part, slice_size - at), deadline));
    }
  }
  return {};
}

// Floats [at, at + count) of every slice of one round. The stream's order protects the scratch memory: what the next
// trade receives comes after this one's additions.
Status NcclCommunicator::trade(const TreeRound& round, const Buffer& full, const Buffer& shard, size_t at, size_t count,
                               Deadline deadline) {
  auto slice = [&](int index) {
    return static_cast<float*>(full.data) + static_cast<size_t>(index * shard.count) + at;
  };
  auto incoming = [&](size_t piece) { return static_cast<float*>(scratch_.get()) + piece * count; };
  // An error inside a group is reported again by ncclGroupEnd, which must be called in any case.
  TEPHRA_RETURN_IF_ERROR(nccl_status(ncclGroupStart(), "ncclGroupStart", comm_));
  for (size_t i = 0; i < round.kept.size(); ++i) {
    (void)ncclSend(slice(round.sent[i]), count, ncclFloat32, round.peer, comm_, stream_.get());
    (void)ncclRecv(incoming(i), count, ncclFloat32, round.peer, comm_, stream_.get());
  }
  TEPHRA_RETURN_IF_ERROR(settle(ncclGroupEnd(), "ncclGroupEnd", deadline));
  for (size_t i = 0; i < round.kept.size(); ++i) {
    float* mine = slice(round.kept[i]);
    float* out = round.last ? static_cast<float*>(shard.data) + at : mine;
    TEPHRA_RETURN_IF_ERROR(cuda_status(add_floats(mine, incoming(i), out, count, stream_.get()), "add_floats"));
  }
  return {};
}

}  // namespace

std::string nccl_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

NcclDevices nccl_devices() {
  NcclDevices devices;
  const cudaError_t code = cudaGetDeviceCount(&devices.count);
  (void)cudaGetLastError();  // a later call must not report this one's failure
  if (code == cudaSuccess && devices.count > 0) return devices;
  devices.count = 0;
  // CUDA says only "driver version is insufficient" where there is no driver at all.
  const std::string hint = code == cudaErrorInsufficientDriver ? "the NVIDIA driver is missing or too old: " : "";
  devices.none_because = hint + cudaGetErrorString(code == cudaSuccess ? cudaErrorNoDevice : code);
  return devices;
}

Result<std::unique_ptr<Communicator>> make_nccl_communicator(std::unique_ptr<Communicator> control, int device,
                                                             Deadline deadline) {
  auto made = std::make_unique<NcclCommunicator>(std::move(control), device);
  TEPHRA_RETURN_IF_ERROR(made->start(deadline));
  return std::unique_ptr<Communicator>(std::move(made));
}

}  // namespace tephra::cluster
