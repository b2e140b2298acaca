#include "sharding/exec/adamw.h"

#include <algorithm>
#include <cstdint>

#include "sharding/exec/aten.h"
#include "sharding/exec/lanes.h"

namespace tephra::sharding {
namespace {

// Where the next state is another buffer, as in the step that takes a snapshot: plain stores would first fetch what lies there
// (docs/performance.md, "Snapshots beside training").
bool goes_elsewhere(const AdamWState& current, const AdamWState& next) {
  const auto aligned = [](const float* values) { return reinterpret_cast<uintptr_t>(values) % sizeof(Lanes) == 0; };
  return next.parameters != current.parameters && aligned(next.parameters) && aligned(next.first_moment) &&
         aligned(next.second_moment);
}

// Vectors [begin, end) of the shard.
template <void (*kStore)(const Lanes&, float*)>
void update_range(int64_t begin, int64_t end, float decay_factor, const AdamWConstants& c, const float* gradient,
                  const AdamWState& current, const AdamWState& next) {
  for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
    const Lanes g = load(gradient + i) * c.gradient_scale;
    const Lanes m = load(current.first_moment + i);
    const Lanes first = m + c.first_weight * (g - m);
    const Lanes second = load(current.second_moment + i) * c.second_beta + c.second_weight * g * g;
    const Lanes denominator = square_root(second) / c.second_correction + c.epsilon;
    kStore(load(current.parameters + i) * decay_factor - c.step_size * (first / denominator), next.parameters + i);
    kStore(first, next.first_moment + i);
    kStore(second, next.second_moment + i);
  }
}

}  // namespace

std::vector<DecayRun> decay_runs(const UnitSpec& unit, int rank, int world_size) {
  const int64_t size = shard_numel(unit, world_size);
  const int64_t begin = rank * size;
  std::vector<DecayRun> runs;
  int64_t covered = 0;
  const auto add = [&](int64_t end, bool decay) {
    if (end > covered) runs.push_back({covered, end, decay});
    covered = std::max(covered, end);
  };
  for (const TensorRange& range : tensor_ranges(unit, begin, begin + size)) {
    const int64_t end = range.flat_offset + range.count - begin;
    add((end + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment, range.tensor->shape.size() >= 2);
  }
  add(size, false);
  return runs;
}

void adamw_update(const std::vector<DecayRun>& runs, const AdamWConstants& constants, const float* gradient,
                  const AdamWState& current, const AdamWState& next) {
  const bool elsewhere = goes_elsewhere(current, next);
  for (const DecayRun& run : runs) {
    const float factor = run.decay ? constants.decay_factor : 1.0f;
    at::parallel_for(run.begin / kLanes, run.end / kLanes, kGrain / kLanes, [&](int64_t begin, int64_t end) {
      if (!elsewhere) return update_range<store>(begin, end, factor, constants, gradient, current, next);
      update_range<store_past_caches>(begin, end, factor, constants, gradient, current, next);
      past_caches_done();
    });
  }
}

void squared_sums(const float* values, int64_t segment, int64_t segments, double* sums) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, segment));
  at::parallel_for(0, segments, grain, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) {
      WideLanes low{}, high{};
      for (int64_t i = 0; i < segment; i += kLanes) {
        const WideLanes a = wide_half(values + s * segment + i), b = wide_half(values + s * segment + i + kLanes / 2);
        low += a * a;
        high += b * b;
      }
      sums[s] = ((low[0] + low[1]) + (low[2] + low[3])) + ((high[0] + high[1]) + (high[2] + high[3]));
    }
  });
}

}  // namespace tephra::sharding
