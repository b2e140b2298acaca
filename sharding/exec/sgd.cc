#include "sharding/exec/sgd.h"

#include "sharding/exec/aten.h"
#include "sharding/exec/lanes.h"

namespace tephra::sharding {
namespace {

// Vectors [begin, end) of the shard.
void update_range(int64_t begin, int64_t end, float weight_decay, const SgdConstants& c, const float* gradient,
                  const SgdState& current, const SgdState& next) {
  for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
    const Lanes p = load(current.parameters + i);
    const Lanes g = load(gradient + i) * c.gradient_scale + weight_decay * p;
    Lanes direction = g;
    if (c.momentum != 0) {
      const Lanes velocity = c.momentum * load(current.velocity + i) + g;
      store(velocity, next.velocity + i);
      direction = c.nesterov ? g + c.momentum * velocity : velocity;
    }
    store(p - c.step_size * direction, next.parameters + i);
  }
}

}  // namespace

void sgd_update(const std::vector<DecayRun>& runs, const SgdConstants& constants, const float* gradient,
                const SgdState& current, const SgdState& next) {
  for (const DecayRun& run : runs) {
    const float decay = run.decay ? constants.weight_decay : 0.0f;
    at::parallel_for(run.begin / kLanes, run.end / kLanes, kGrain / kLanes, [&](int64_t begin, int64_t end) {
      update_range(begin, end, decay, constants, gradient, current, next);
    });
  }
}

}  // namespace tephra::sharding
