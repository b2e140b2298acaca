#include "worker/memory_check.h"

#include <algorithm>
#include <cstdio>

namespace tephra::worker {
namespace {

std::string megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

}  // namespace

Status check_memory(const std::string& stage, const std::vector<sharding::UnitSpec>& units,
                    const sharding::Policy& policy, int64_t memory_bytes) {
  if (memory_bytes <= 0) return ok_status();
  const sharding::MemoryEstimate planned =
      sharding::estimate(sharding::make_schedule(units, policy), units, policy, 1).memory;
  const int64_t needed = planned.total() - planned.activation_peak;
  if (needed <= memory_bytes) return ok_status();
  const auto largest = std::max_element(units.begin(), units.end(),
                                        [](const auto& a, const auto& b) { return a.flat_numel < b.flat_numel; });
  return {Code::kUnavailable, RetryClass::kNeedsOperator,
          "stage " + stage + " needs " + megabytes(needed) + " a rank (parameters " +
              megabytes(planned.parameter_shards) + ", moments and their snapshot " +
              megabytes(planned.optimizer_shards) + ", gathered units " + megabytes(planned.gathered_peak) +
              ", gradients " + megabytes(planned.gradient_shards + planned.gradient_peak) + "; its largest unit " +
              largest->name + " has " + megabytes(largest->flat_numel * static_cast<int64_t>(sizeof(float))) +
              ") beside its activations, and this machine has " + megabytes(memory_bytes) +
              "; use more ranks on more machines, shard: parameters, a smaller prefetch, or lora"};
}

}  // namespace tephra::worker
