// The fused optimizer against SGD written as its formula, in double, one scalar at a time; and the cuts that must not
// matter.
#include "sharding/exec/sgd.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace tephra::sharding {
namespace {

UnitSpec unit_of_three() {
  std::vector<UnitSpec> units{{.name = "u", .group = "llm", .trainable = true}};
  units[0].tensors = {{"matrix", {61, 83}}, {"vector", {1500}}, {"last", {3, 3}}};
  layout(units);
  return units[0];
}

std::vector<float> noise(int64_t count, uint64_t key) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(random_normal({key, static_cast<uint64_t>(i)}));
  return values;
}

// Twenty steps of torch.optim.SGD's documented algorithm, dampening 0, whose velocity begins with the first gradient.
TEST(Sgd, EqualsTheScalarFormula) {
  const UnitSpec unit = unit_of_three();
  const double rate = 1e-2, decay = 0.1, scale = 0.25;
  for (const double momentum : {0.0, 0.9}) {
    for (const bool nesterov : {false, true}) {
      if (nesterov && momentum == 0) continue;
      SCOPED_TRACE(std::to_string(momentum) + (nesterov ? " nesterov" : ""));
      const SgdConstants c{static_cast<float>(scale), static_cast<float>(decay), static_cast<float>(momentum), nesterov,
                           static_cast<float>(rate)};
      std::vector<float> p = noise(unit.flat_numel, 1), v(p.size());
      std::vector<double> wide_p(p.begin(), p.end()), wide_v(p.size());
      for (int t = 1; t <= 20; ++t) {
        const std::vector<float> g = noise(unit.flat_numel, 100 + t);
        const SgdState state{p.data(), momentum == 0 ? nullptr : v.data()};
        sgd_update(decay_runs(unit, 0, 1), c, g.data(), state, state);
        for (size_t i = 0; i < p.size(); ++i) {
          const auto at = static_cast<int64_t>(i);
          const bool vector = at >= unit.tensors[1].offset && at < unit.tensors[1].offset + 1500;
          double gradient = scale * g[i] + (vector ? 0 : decay * wide_p[i]);
          if (momentum != 0) {
            wide_v[i] = t == 1 ? gradient : momentum * wide_v[i] + gradient;
            gradient = nesterov ? gradient + momentum * wide_v[i] : wide_v[i];
          }
          wide_p[i] -= rate * gradient;
        }
      }
      for (const TensorSpec& tensor : unit.tensors) {
        for (int64_t i = tensor.offset; i < tensor.offset + numel(tensor.shape); ++i) {
          ASSERT_NEAR(p[i], wide_p[i], 4e-6) << i;  // 20 steps of float32 rounding of values near 1
          ASSERT_NEAR(v[i], wide_v[i], 4e-6) << i;
        }
      }
    }
  }
}

TEST(Sgd, ShardsOfAnyNumberGiveTheSameBits) {
  const UnitSpec unit = unit_of_three();
  const std::vector<float> p = noise(unit.flat_numel, 1), v = noise(unit.flat_numel, 2), g = noise(unit.flat_numel, 3);
  const SgdConstants c{0.3f, 0.01f, 0.9f, true, 0.02f};
  std::vector<float> expected;
  for (int world = 1; world <= 64; world *= 2) {
    std::vector<float> next_p(p.size()), next_v(p.size());
    for (int rank = 0; rank < world; ++rank) {
      const int64_t at = rank * shard_numel(unit, world);
      sgd_update(decay_runs(unit, rank, world), c, g.data() + at,
                 {const_cast<float*>(p.data()) + at, const_cast<float*>(v.data()) + at},
                 {next_p.data() + at, next_v.data() + at});
    }
    next_p.insert(next_p.end(), next_v.begin(), next_v.end());
    if (world == 1) expected = next_p;
    EXPECT_EQ(next_p, expected) << "world size " << world;
  }
}

}  // namespace
}  // namespace tephra::sharding
