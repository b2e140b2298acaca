// What a stage's checkpoints take on disk.
#pragma once

#include <cstdint>
#include <vector>

#include "sharding/plan/unit.h"

namespace tephra::sharding {

// Of one checkpoint: parameters and `moments` moments (Policy::moments) of what is trained, float32. What is frozen is in the store once.
int64_t checkpoint_bytes(const std::vector<UnitSpec>& units, int moments);
// Of a stage: one each `every` steps (0: none) and one at its end.
int64_t checkpoint_count(int64_t steps, int64_t every);

// A stage's rules for what stays; 0: no such rule (recipes::KeepRecipe).
struct KeptCheckpoints {
  int64_t last = 0, best = 0, every_steps = 0;
  uint64_t max_bytes = 0;
  bool best_tag = false;  // one more is held by a tag
};
// The most of a stage's checkpoints that are there at one time, `one_bytes` each: those that the rules keep, and the
// one that was just written, before an older one goes.
int64_t checkpoint_peak(int64_t steps, int64_t every, const KeptCheckpoints& kept, int64_t one_bytes);

}  // namespace tephra::sharding
