// The flat layout: tensors keep their place at every world size, and ranges cover each tensor exactly once.
#include "sharding/plan/unit.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace tephra::sharding {
namespace {

UnitSpec unit_of(const std::vector<Shape>& shapes, bool trainable) {
  UnitSpec unit{.name = "unit", .group = "llm", .trainable = trainable};
  for (const Shape& shape : shapes) unit.tensors.push_back({"t" + std::to_string(unit.tensors.size()), shape});
  return unit;
}

TEST(Layout, AlignsTensorsAndPadsUnits) {
  std::vector<UnitSpec> units{unit_of({{3, 5}, {1}, {70, 70}}, false), unit_of({}, false)};
  layout(units);
  EXPECT_EQ(units[0].tensors[0].offset, 0);
  EXPECT_EQ(units[0].tensors[1].offset, 16);
  EXPECT_EQ(units[0].tensors[2].offset, 32);
  EXPECT_EQ(units[0].flat_numel, 8192);
  EXPECT_EQ(units[1].flat_numel, 0);
}

TEST(Layout, BackwardStartsAtTheFirstTrainableUnit) {
  std::vector<UnitSpec> units{unit_of({{1}}, false), unit_of({{1}}, true), unit_of({{1}}, false)};
  layout(units);
  EXPECT_FALSE(units[0].needs_backward);
  EXPECT_TRUE(units[1].needs_backward);
  EXPECT_TRUE(units[2].needs_backward);
}

TEST(TensorRanges, ShardsCoverEveryElementOnce) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    UnitSpec unit = unit_of({}, true);
    for (uint64_t t = 0; t < 1 + random_below(6, {seed, 1}); ++t) {
      unit.tensors.push_back({"t" + std::to_string(t), {static_cast<int64_t>(1 + random_below(3000, {seed, 2, t}))}});
    }
    std::vector<UnitSpec> units{unit};
    layout(units);
    for (int world = 1; world <= 64; world *= 2) {
      std::vector<int64_t> next(unit.tensors.size(), 0);
      const int64_t size = shard_numel(units[0], world);
      for (int rank = 0; rank < world; ++rank) {
        for (const TensorRange& range : tensor_ranges(units[0], rank * size, (rank + 1) * size)) {
          const size_t t = range.tensor - units[0].tensors.data();
          ASSERT_EQ(range.begin, next[t]) << "seed " << seed << " world " << world;
          ASSERT_EQ(range.flat_offset, range.tensor->offset + range.begin);
          ASSERT_GE(range.flat_offset, rank * size);
          ASSERT_LE(range.flat_offset + range.count, (rank + 1) * size);
          next[t] += range.count;
        }
      }
      for (size_t t = 0; t < next.size(); ++t) EXPECT_EQ(next[t], numel(units[0].tensors[t].shape));
    }
  }
}

}  // namespace
}  // namespace tephra::sharding
