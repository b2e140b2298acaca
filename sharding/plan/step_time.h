// The planner's clock: the same schedule that the executor runs, walked with seconds in place of tensors. Two lanes,
// as in the executor: compute in the schedule's order, and collectives in the order in which they are issued.
#pragma once

#include <vector>

#include "sharding/plan/device.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {

// What a unit's products are computed in, where `numbers` are asked for: they say which ones of the width of its
// compute_dtype.
inline Numbers numbers_of(const UnitSpec& unit, Numbers numbers) {
  const bool narrow = element_bytes(numbers) == 2;
  if (unit.compute_dtype == DType::kFloat32) return narrow ? Numbers::kFloat32 : numbers;
  return narrow ? numbers : Numbers::kBFloat16;
}

// Seconds of each unit's operations on one rank; one entry a unit.
struct OpSeconds {
  std::vector<double> forward;     // and of recomputing it
  std::vector<double> backward;    // with the addition of its gradient to the micro-batches' sum
  std::vector<double> gather;      // 0 where it costs nothing
  std::vector<double> reduce;      // reduce-scatter, or reduce-scatter and all-gather where the sum stays whole
  std::vector<double> transfer{};  // of what the update takes of a unit, to or from the host; empty without offload
  std::vector<double> fetch{};  // of what is gathered of a unit, from the host; empty unless parameters are offloaded
  double update = 0;            // norm, clipping and AdamW
  double exchange = 0;          // of losses and norms, between backward and update
};

struct StepTime {            // seconds of one step on one rank
  double total = 0;          // compute + exposed + exposed_transfer
  double compute = 0;        // forward, recompute, backward, update
  double communication = 0;  // of the collectives, hidden or not; 0 on one rank
  double exposed = 0;        // of them, what the compute waits for; at most communication
  double transfer = 0;       // of offloaded state, to and from the host, hidden or not
  double exposed_transfer = 0;
};

// `seconds` over `schedule`, gathers and their fetches issued policy.prefetch ahead and one reduction in flight, as the
// executor does.
StepTime step_time(const Schedule& schedule, const std::vector<UnitSpec>& units, const Policy& policy,
                   const OpSeconds& seconds);

// What the cluster's data sheet gives for a micro-batch of this size; docs/planning.md has the formulas. All ranks are
// alike. policy.world_size is the cluster's, and the device computes in `numbers` (check_numbers).
OpSeconds op_seconds(const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& batch,
                     const Cluster& cluster, Numbers numbers);

}  // namespace tephra::sharding
