// What a stage's checkpoints take on disk.
#pragma once

#include <cstdint>
#include <vector>

#include "sharding/plan/unit.h"

namespace tephra::sharding {

// Of one checkpoint: parameters and `moments` moments (Policy::moments) of what is trained, float32. What is frozen is in the store once.
int64_t checkpoint_bytes(const std::vector<UnitSpec>& units, int moments);
// Of a stage: one each `every` steps (0: none) and one at its end; all are kept.
int64_t checkpoint_count(int64_t steps, int64_t every);

}  // namespace tephra::sharding
