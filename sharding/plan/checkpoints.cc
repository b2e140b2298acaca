#include "sharding/plan/checkpoints.h"

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

}  // namespace tephra::sharding
