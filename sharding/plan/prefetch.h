// How many units to gather ahead, where a recipe leaves it to the planner (sharding.prefetch: auto).
#pragma once

#include <string>
#include <vector>

#include "sharding/plan/step_time.h"

namespace tephra::sharding {

inline constexpr int kMaxPrefetch = 64;

struct PrefetchChoice {
  int depth = 1;
  std::string reason;  // a clause that follows "prefetch 2: "
};

// The greatest depth up to kMaxPrefetch that fits and still hides more of the communication and fetches than any smaller
// one, by 0.1 % of the step at least. Memory is that of micro-batches of `longest` tokens and may be `memory_bytes` at
// most (0: no limit), `seconds` are those of a mean one; null where no device is known: then 1, or 0 where that does not
// fit. policy.prefetch is not looked at. The choice changes no bits.
PrefetchChoice choose_prefetch(const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& longest,
                               int64_t memory_bytes, const OpSeconds* seconds);

}  // namespace tephra::sharding
