// Executor's implementation: walks the schedule, with the collectives on their own thread.
#pragma once

#include <deque>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "sharding/exec/comm_thread.h"
#include "sharding/exec/executor.h"
#include "sharding/exec/gradient_tree.h"
#include "sharding/exec/rank_groups.h"
#include "sharding/exec/shard_store.h"
#include "sharding/exec/step_totals.h"
#include "sharding/exec/tape.h"
#include "sharding/exec/unit_buffer.h"

namespace tephra::sharding {

class ScheduleExecutor final : public Executor {
 public:
  // Arguments as Executor::create has checked them.
  ScheduleExecutor(std::vector<UnitSpec> units, std::vector<std::unique_ptr<UnitModule>> modules, RankGroups groups,
                   const Policy& policy, const OptimizerOptions& optimizer, std::chrono::nanoseconds collective_timeout,
                   FlightRecorder* flight);
  ~ScheduleExecutor() override = default;

  Status load(const Reader& reader, bool with_moments) override;
  Result<StepStats> train_step(const std::vector<const MicroBatch*>& local, const StepInput& input) override;
  Result<StepStats> evaluate(const std::vector<const MicroBatch*>& local) override;
  Snapshot snapshot() override { return store_.snapshot(); }
  const Progress& progress() const override { return progress_; }
  const std::vector<UnitSpec>& units() const override { return units_; }
  int64_t buffer_bytes() const override { return pool_.allocated_bytes(); }
  HeldPeaks held_peaks() const override;

 private:
  // A gather or reduction that was submitted and not yet waited for. `buffer`: what the gather fills, or the whole sum
  // that the reduction does not keep; `part`: what it needs beside that: a shard that was fetched, or to sum over copies.
  struct InFlight {
    int unit = -1;
    Block buffer, part;
    std::future<Status> done;
  };
  // What flows through the chain for the micro-batch being run.
  struct Chain {
    Activations activations;                   // inputs of the next unit's forward
    std::vector<UnitTape> tapes;               // per unit
    std::vector<at::Tensor> output_gradients;  // of the next unit's backward
  };

  Status check_local(const std::vector<const MicroBatch*>& local) const;
  // Runs `schedule`, all but its kStep, and turns exceptions into a Status.
  Status run(const Schedule& schedule, const std::vector<const MicroBatch*>& local, bool training);
  Status run_op(const Op& op, const std::vector<const MicroBatch*>& local, bool training);

  void forward(const Op& op, const MicroBatch& batch, bool training);
  void recompute(const Op& op, const MicroBatch& batch);
  void backward(const Op& op);
  void issue_fetch(int unit);
  void issue_gather(int unit);
  Status finish_gather(int unit);
  Status reduce(const Op& op);
  Status finish_reduction();

  Result<GlobalTotals> exchange(const LocalTotals& local);
  Result<StepStats> update(const StepInput& input);
  // What the schedule has after its kStep: transfers on their own thread, the next fetch ahead, the write-back behind.
  Status update_offloaded(const StepInput& input, float scale);
  std::vector<double> local_squared_sums() const;

  // `start`: how the collective's record begins, but for its number and time of submission.
  std::future<Status> submit(std::string what, FlightRecorder::Start start, std::function<Status(Deadline)> collective);
  void record_collective(FlightRecorder::Start start);  // comm thread, right before it begins
  // The first failure is kept; the peers are told and everything in flight is taken back.
  Status fail(const Status& status);
  void clear_step();
  void drop_gathered();
  void note_held(int64_t leaf_count);
  void note(const Op& op);

  bool whole() const { return replicated(policy_); }  // shards are whole units

  const std::vector<UnitSpec> units_;
  const std::vector<std::unique_ptr<UnitModule>> modules_;
  RankGroups groups_;
  const Policy policy_;
  const OptimizerOptions optimizer_;
  const std::chrono::nanoseconds collective_timeout_;
  FlightRecorder own_flight_;  // where the caller keeps none
  FlightRecorder& flight_;
  const Schedule schedule_;
  const Holding holding_;
  int trainable_units_ = 0;

  BlockPool pool_;
  ShardStore store_;
  std::vector<UnitBuffer> buffers_;
  std::vector<GradientTree> trees_;
  // Per unit, the summed gradient of what the store holds: a shard, or the whole. From reduction to update.
  std::vector<Block> gradients_;
  // Offloaded state of units being fetched, updated and stored, in turn; none without offload.
  std::vector<Block> working_;
  std::vector<bool> stale_;  // gathered, but the shards have changed since (where units stay gathered)

  Chain chain_;
  LocalTotals totals_;
  std::deque<InFlight> gathers_;  // in the schedule's order
  InFlight reduction_;
  HeldPeaks peaks_;  // but for the total, which the pool counts
  Progress progress_;
  Status failure_;
  CommThread comm_, transfers_;  // last: they end before what their closures use
};

}  // namespace tephra::sharding
