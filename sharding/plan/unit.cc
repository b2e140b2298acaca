#include "sharding/plan/unit.h"

#include <algorithm>

namespace tephra::sharding {
namespace {

int64_t round_up(int64_t value, int64_t quantum) { return (value + quantum - 1) / quantum * quantum; }

}  // namespace

void layout(std::vector<UnitSpec>& units) {
  bool upstream = false;
  for (UnitSpec& unit : units) {
    int64_t end = 0;
    for (TensorSpec& tensor : unit.tensors) {
      tensor.offset = round_up(end, kTensorAlignment);
      end = tensor.offset + numel(tensor.shape);
    }
    unit.flat_numel = round_up(end, kShardQuantum);
    upstream = upstream || unit.trainable;
    unit.needs_backward = upstream;
  }
}

std::vector<TensorRange> tensor_ranges(const UnitSpec& unit, int64_t begin, int64_t end) {
  std::vector<TensorRange> ranges;
  for (const TensorSpec& tensor : unit.tensors) {
    const int64_t first = std::max(begin, tensor.offset);
    const int64_t last = std::min(end, tensor.offset + numel(tensor.shape));
    if (first < last) ranges.push_back({&tensor, first - tensor.offset, last - first, first});
  }
  return ranges;
}

}  // namespace tephra::sharding
