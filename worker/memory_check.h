// Whether a rank's part of a stage fits into the memory of its machine, from the plan alone: asked before anything is
// loaded. Ranks that share a machine are not added up here; what each needs by itself has to fit at the least.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "sharding/plan/schedule.h"

namespace tephra::worker {

// memory_bytes: what the machine has; 0: not known, then everything fits. Otherwise kUnavailable (needs operator) with
// the numbers: what is planned, activations left out (they depend on the samples), its parts, the largest unit, and what
// there is.
Status check_memory(const std::string& stage, const std::vector<sharding::UnitSpec>& units,
                    const sharding::Policy& policy, int64_t memory_bytes);

}  // namespace tephra::worker
