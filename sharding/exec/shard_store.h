// This rank's shards of parameters and optimizer state (whole units, where they are replicated), and their hand-over to
// snapshots without a copy: while a snapshot holds the current state, the next step writes into other buffers; without
// one it updates in place. Threading: the compute thread. A Snapshot may be dropped on any thread.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "sharding/exec/adamw.h"
#include "sharding/exec/block_pool.h"
#include "sharding/exec/executor.h"
#include "sharding/exec/host_memory.h"
#include "sharding/exec/sgd.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {

class ShardStore {
 public:
  // `units` and `pool` outlive the store. It holds and updates `holding.shard` of every unit; a snapshot has
  // `holding.part` only. moments: that the optimizer keeps, 0 to 2. offload: what is in host memory. Everything starts
  // at zero. Throws std::bad_alloc, and what HostMemory does.
  ShardStore(const std::vector<UnitSpec>* units, const Holding& holding, int moments, Offload offload, BlockPool* pool);

  // Executor::load. On failure the contents are unspecified.
  Status load(const Executor::Reader& reader, bool with_moments);

  // What is gathered and computed with: shard_numel elements of the unit's compute_dtype, or flat_numel where replicated. Valid until
  // the next load() or update(). Where parameters are offloaded this is host memory: use fetch_parameters().
  void* parameters(int unit) const;
  // Copies those elements to `out`. On any thread, but not beside load() or update().
  void fetch_parameters(int unit, void* out) const;

  // One step of every trainable unit; `options` keep as many moments as the store. gradients: per unit, the summed gradient of what is held; scale: times each
  // element.
  void update(const OptimizerOptions& options, const StepInput& input, float scale,
              const std::vector<Block>& gradients);

  // The same unit by unit, for what is offloaded: begin_update(); of every trainable unit fetch(), update_unit(), store();
  // end_update(). `working`: working_count(unit) floats. fetch() and store() may run on another thread meanwhile, also
  // beside update_unit() of another unit.
  int64_t working_count(int unit) const;
  void begin_update() { next_ = writable(); }
  void fetch(int unit, float* working) const;
  void update_unit(int unit, const OptimizerOptions& options, const StepInput& input, float scale,
                   const Block& gradient, float* working);
  void store(int unit, const float* working);
  void end_update() { current_ = std::move(next_); }

  Snapshot snapshot() const;

 private:
  struct UnitState {
    std::array<Block, 3> values;  // by StateKind; moments that the optimizer does not keep are empty
    HostMemory offloaded;         // in place of values from kind first_offloaded on: those kept, one after the other
    std::array<float*, 3> at{};   // by StateKind, wherever they are; null: not kept
    AdamWState pointers() const { return {at[0], at[1], at[2]}; }
  };
  struct TrainedState {  // of all units; empty for frozen ones
    std::vector<UnitState> units;
    // Snapshots that hold this state. Dropped on other threads with release, read here with acquire, so that whatever
    // the holder read was read before it is overwritten.
    mutable std::atomic<int> holders{0};
  };

  std::shared_ptr<TrainedState> make_state() const;
  // The state that the next write goes to: the current one when nobody else holds it.
  std::shared_ptr<TrainedState> writable() const;
  Status load_unit(const Executor::Reader& reader, int unit, bool with_moments, TrainedState& into);
  // One step of a unit, which may be in place.
  void step(int unit, const OptimizerOptions& options, const StepInput& input, float scale, const Block& gradient,
            const AdamWState& from, const AdamWState& to);
  // Rounds float32 parameters of `unit`, as many as are held, to its compute_dtype.
  void round_parameters(int unit, float* from, void* to) const;
  bool rounds(int unit) const { return units_[unit].compute_dtype != DType::kFloat32; }
  int64_t held_count(int unit) const { return shard_numel(units_[unit], holding_.shards); }
  int64_t computed_bytes(int unit) const { return held_count(unit) * size_bytes(units_[unit].compute_dtype); }
  // Kinds from this one on are in host memory.
  size_t first_offloaded() const;

  const std::vector<UnitSpec>& units_;
  const Holding holding_;
  const std::vector<StateKind> kinds_;  // what is kept of a trainable unit
  const Offload offload_;
  BlockPool* const pool_;
  std::vector<std::vector<DecayRun>> runs_;
  // Per unit, what parameters() gives of frozen units and of those that compute in bfloat16; empty for the others, whose parameters
  // are those of the state. Where parameters are offloaded, this is.
  std::vector<Block> computed_;
  std::vector<HostMemory> offloaded_computed_;
  std::shared_ptr<TrainedState> current_;
  std::shared_ptr<TrainedState> next_;  // from begin_update() to end_update()
};

}  // namespace tephra::sharding
