#include "sharding/plan/checkpoints.h"

#include <algorithm>

namespace tephra::sharding {

int64_t checkpoint_bytes(const std::vector<UnitSpec>& units, int moments) {
  int64_t elements = 0;
  for (const UnitSpec& unit : units) {
    if (!unit.trainable) continue;
    for (const TensorSpec& tensor : unit.tensors) elements += numel(tensor.shape);
  }
  return elements * (1 + moments) * static_cast<int64_t>(sizeof(float));
}

int64_t checkpoint_count(int64_t steps, int64_t every) {
  if (steps <= 0) return 0;
  return every > 0 ? (steps - 1) / every + 1 : 1;
}

int64_t checkpoint_peak(int64_t steps, int64_t every, const KeptCheckpoints& kept, int64_t one_bytes) {
  const int64_t all = checkpoint_count(steps, every);
  const int64_t tagged = kept.best_tag ? 1 : 0;
  int64_t most = all;
  if (kept.last > 0 || kept.best > 0 || kept.every_steps > 0) {
    const int64_t multiples = kept.every_steps > 0 ? steps / kept.every_steps : 0;
    most = std::max<int64_t>(kept.last, 1) + kept.best + multiples + tagged;
  }
  if (kept.max_bytes > 0 && one_bytes > 0) {
    const auto fitting = static_cast<int64_t>(kept.max_bytes / static_cast<uint64_t>(one_bytes));
    most = std::min(most, std::max<int64_t>(fitting, 1) + tagged);
  }
  return std::min(all, most < all ? most + 1 : all);
}

}  // namespace tephra::sharding
