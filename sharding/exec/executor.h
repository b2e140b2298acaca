// Runs a Schedule over a chain of units with sharded parameters, gradients and optimizer state.
//
// Bits: with equal micro-batches and threads per rank, parameters, moments, losses and norms are the same at every
// world size (docs/architecture.md, "Why the world size does not change the bits").
//
// Threading: construct and call from the compute thread; progress() from any. The compute thread takes over the
// process's at::set_num_threads() when the executor is made, so set it before; LibTorch keeps the count per thread.
// Collectives run on the executor's own communication thread, policy.prefetch gathers ahead of the compute. No call
// returns with one under way.
//
// Failures: kInvalidArgument leaves everything as it was and tells nobody. Any other failure of train_step() or
// evaluate() (a collective's own status; kInternal for what LibTorch threw, named with unit and micro-batch) aborts the
// communicator, so that the peers do not wait, and is what every later call returns.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/flight_recorder.h"
#include "base/status.h"
#include "base/tensor_source.h"
#include "cluster/communicator.h"
#include "sharding/exec/optimizer.h"
#include "sharding/exec/unit_module.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {

struct StepInput {
  std::vector<double> learning_rate;  // per unit (same order and count as units; ignored for frozen ones)
  int64_t optimizer_step = 1;         // 1-based count for bias correction
};

struct StepStats {
  double loss = 0;                      // mean over the global batch's supervised tokens
  double gradient_norm = 0;             // before clipping
  int64_t loss_tokens = 0, tokens = 0;  // global
  bool skipped =
      false;  // loss or norm was not finite, or there was no supervised token: nothing was updated, on any rank
  std::vector<double> micro_batch_losses{};  // of train_step: each one's loss sum, over all ranks, in the batch's order
};

enum class StateKind { kParameter, kFirstMoment, kSecondMoment };  // SGD's velocity is a first moment

// A contiguous run of one logical tensor's elements that this rank owns.
struct StatePiece {
  std::string tensor;
  StateKind kind = StateKind::kParameter;
  Shape shape;        // of the whole tensor
  int64_t begin = 0;  // first element, row-major
  std::span<const float> values;
};
// This rank's part of the trainable units' state at a step; no element is in two ranks' parts, at any shard level. The
// spans stay valid, and unchanged by later steps, while `owner` lives, which may be longer than the executor. Drop it on
// any thread, as soon as it is written: a held snapshot costs a second set of buffers.
struct Snapshot {
  std::vector<StatePiece> pieces;
  std::shared_ptr<const void> owner;
};

// Where the flight record of a rank stands; written by the executor, read by the heartbeat thread.
struct Progress {
  std::atomic<int> phase{0};  // OpKind + 1; 0 idle
  std::atomic<int> unit{-1};
  std::atomic<int> micro_batch{-1};
  std::atomic<uint64_t> collective_sequence{0};
};

// The most bytes that a rank has held at once, to hold against what estimate() said of a training step.
struct HeldPeaks {
  int64_t total = 0;      // of shards, gathered units and gradients, evaluate() included; autograd's gradients are not
  int64_t gathered = 0;   // as MemoryEstimate::gathered_peak; training steps only
  int64_t gradients = 0;  // as MemoryEstimate::gradient_peak; training steps only
};

class Executor {
 public:
  // units: after layout(). modules: one per unit. `communicator` and `flight` outlive the executor. Parameters and
  // moments start at zero. `flight`: records every operation and collective, and is told the units' names; steps and
  // samples are the caller's to say. Null: none is kept. kInvalidArgument when the world size is not a power of two,
  // exceeds kMaxWorldSize or is not the communicator's, or when units, modules, policy and optimizer do not fit each
  // other. Collective where the policy is hybrid (policy.group_ranks): the communicator is split; may then also return
  // that one's failures.
  static Result<std::unique_ptr<Executor>> create(std::vector<UnitSpec> units,
                                                  std::vector<std::unique_ptr<UnitModule>> modules,
                                                  cluster::Communicator* communicator, const Policy& policy,
                                                  const OptimizerOptions& optimizer,
                                                  std::chrono::nanoseconds collective_timeout,
                                                  FlightRecorder* flight = nullptr);
  virtual ~Executor() = default;

  // Fills `out` with elements [begin, begin + count) (row-major) of the named tensor's parameter or moment. Called by
  // several threads at once, as many as the rank computes with.
  using Reader =
      std::function<Status(const std::string& tensor, StateKind kind, int64_t begin, int64_t count, float* out)>;
  // Reads this rank's shard of every parameter and, of trainable units with `with_moments`, of the optimizer's moments
  // (else zero). Not collective. Returns the reader's first failure; the state is then unspecified until a load succeeds.
  virtual Status load(const Reader& reader, bool with_moments) = 0;

  // One optimizer step. `local`: this rank's contiguous policy.micro_batches of the global batch: rank r has
  // micro-batches [r * micro_batches, (r + 1) * micro_batches). Collective.
  virtual Result<StepStats> train_step(const std::vector<const MicroBatch*>& local, const StepInput& input) = 0;

  // Mean loss over the supervised tokens of all ranks' micro-batches, without a tape; the same number of micro-batches,
  // at least one, on every rank. Collective.
  virtual Result<StepStats> evaluate(const std::vector<const MicroBatch*>& local) = 0;

  // The state as of the last finished step, without copying: the next step writes into fresh buffers.
  virtual Snapshot snapshot() = 0;

  virtual const Progress& progress() const = 0;
  virtual const std::vector<UnitSpec>& units() const = 0;
  // Bytes of shards, gathered units and gradients held or kept for reuse; constant from the second step on unless a
  // snapshot is held for the first time.
  virtual int64_t buffer_bytes() const { return 0; }
  virtual HeldPeaks held_peaks() const { return {}; }
};

}  // namespace tephra::sharding
