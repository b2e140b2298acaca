// The fused optimizer against AdamW written as its formula, in double, one scalar at a time; and the cuts that must not
// matter.
#include "sharding/exec/adamw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/random.h"

namespace tephra::sharding {
namespace {

UnitSpec unit_with(std::vector<Shape> shapes) {
  UnitSpec unit{.name = "u", .group = "llm", .trainable = true};
  for (Shape& shape : shapes) unit.tensors.push_back({"t" + std::to_string(unit.tensors.size()), std::move(shape)});
  std::vector<UnitSpec> units{unit};
  layout(units);
  return units[0];
}

std::vector<float> noise(int64_t count, uint64_t key, double scale) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(scale * random_normal({key, static_cast<uint64_t>(i)}));
  return values;
}

TEST(AdamW, EqualsTheScalarFormula) {
  const UnitSpec unit = unit_with({{37, 5}, {11}});
  const std::vector<DecayRun> runs = decay_runs(unit, 0, 1);
  const double lr = 1e-2, decay = 0.1, beta1 = 0.9, beta2 = 0.98, epsilon = 1e-8, scale = 0.25;
  std::vector<float> p = noise(unit.flat_numel, 1, 1), m(p.size()), v(p.size());
  std::vector<double> wide_p(p.begin(), p.end()), wide_m(p.size()), wide_v(p.size());
  for (int t = 1; t <= 20; ++t) {
    const std::vector<float> g = noise(unit.flat_numel, 100 + t, 2);
    const AdamWConstants c{.gradient_scale = static_cast<float>(scale),
                           .decay_factor = static_cast<float>(1 - lr * decay),
                           .first_weight = static_cast<float>(1 - beta1),
                           .second_beta = static_cast<float>(beta2),
                           .second_weight = static_cast<float>(1 - beta2),
                           .second_correction = static_cast<float>(std::sqrt(1 - std::pow(beta2, t))),
                           .epsilon = static_cast<float>(epsilon),
                           .step_size = static_cast<float>(lr / (1 - std::pow(beta1, t)))};
    const AdamWState state{p.data(), m.data(), v.data()};
    adamw_update(runs, c, g.data(), state, state);
    for (size_t i = 0; i < p.size(); ++i) {
      const bool matrix = static_cast<int64_t>(i) < unit.tensors[1].offset;
      const double gradient = scale * g[i];
      if (matrix) wide_p[i] *= 1 - lr * decay;
      wide_m[i] = beta1 * wide_m[i] + (1 - beta1) * gradient;
      wide_v[i] = beta2 * wide_v[i] + (1 - beta2) * gradient * gradient;
      const double hat_m = wide_m[i] / (1 - std::pow(beta1, t)), hat_v = wide_v[i] / (1 - std::pow(beta2, t));
      wide_p[i] -= lr * hat_m / (std::sqrt(hat_v) + epsilon);
    }
  }
  for (size_t i = 0; i < p.size(); ++i) {
    ASSERT_NEAR(p[i], wide_p[i], 2e-6) << i;  // 20 steps of float32 rounding of values near 1
    ASSERT_NEAR(m[i], wide_m[i], 1e-6) << i;
    ASSERT_NEAR(v[i], wide_v[i], 1e-6) << i;
  }
}

TEST(AdamW, ShardsOfAnyNumberGiveTheSameBits) {
  const UnitSpec unit = unit_with({{61, 83}, {7}, {3, 3}, {1500}});
  const std::vector<float> p = noise(unit.flat_numel, 1, 1), m = noise(unit.flat_numel, 2, 1e-3),
                           g = noise(unit.flat_numel, 4, 1);
  std::vector<float> v = noise(unit.flat_numel, 3, 1e-3);
  for (float& x : v) x = std::abs(x);
  const AdamWConstants c{0.3f, 0.999f, 0.1f, 0.999f, 0.001f, 0.05f, 1e-8f, 0.02f};
  std::vector<float> expected;
  for (int world = 1; world <= 64; world *= 2) {
    std::vector<float> next_p(p.size()), next_m(p.size()), next_v(p.size());
    const int64_t size = shard_numel(unit, world);
    for (int rank = 0; rank < world; ++rank) {
      const int64_t at = rank * size;
      const auto current = [at](const std::vector<float>& x) { return const_cast<float*>(x.data()) + at; };
      adamw_update(decay_runs(unit, rank, world), c, g.data() + at, {current(p), current(m), current(v)},
                   {next_p.data() + at, next_m.data() + at, next_v.data() + at});
    }
    next_p.insert(next_p.end(), next_m.begin(), next_m.end());
    next_p.insert(next_p.end(), next_v.begin(), next_v.end());
    if (world == 1) expected = next_p;
    EXPECT_EQ(next_p, expected) << "world size " << world;
  }
}

TEST(AdamW, OtherBuffersGiveTheBitsOfTheSameOnes) {
  const UnitSpec unit = unit_with({{61, 83}, {1500}});
  const std::vector<DecayRun> runs = decay_runs(unit, 0, 1);
  const auto count = static_cast<size_t>(unit.flat_numel);
  const std::vector<float> g = noise(unit.flat_numel, 4, 1);
  const AdamWConstants c{0.3f, 0.999f, 0.1f, 0.999f, 0.001f, 0.05f, 1e-8f, 0.02f};
  // One allocation, so that both alignments that stores distinguish are tried: a shard's, and any.
  for (const size_t offset : {size_t{0}, size_t{1}}) {
    std::vector<float> memory(6 * (count + 16) + 16);
    float* at = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) / sizeof(float) + offset;
    AdamWState states[2];
    for (AdamWState& state : states)
      for (float** values : {&state.parameters, &state.first_moment, &state.second_moment}) {
        *values = at;
        at += (count + 15) / 16 * 16;
      }
    for (size_t i = 0; i < count; ++i) {
      states[0].parameters[i] = 1.0f / static_cast<float>(i + 1);
      states[0].first_moment[i] = 1e-3f * static_cast<float>(i % 7);
      states[0].second_moment[i] = 1e-4f * static_cast<float>(i % 5);
    }
    adamw_update(runs, c, g.data(), states[0], states[1]);
    adamw_update(runs, c, g.data(), states[0], states[0]);
    EXPECT_TRUE(std::equal(states[0].parameters, states[0].parameters + count, states[1].parameters));
    EXPECT_TRUE(std::equal(states[0].first_moment, states[0].first_moment + count, states[1].first_moment));
    EXPECT_TRUE(std::equal(states[0].second_moment, states[0].second_moment + count, states[1].second_moment));
  }
}

TEST(DecayRuns, CoverTheShardOnceAndDecayMatricesOnly) {
  const UnitSpec unit = unit_with({{3, 3}, {5}, {100, 50}, {2, 2}});
  for (int world = 1; world <= 64; world *= 2) {
    for (int rank = 0; rank < world; ++rank) {
      const int64_t begin = rank * shard_numel(unit, world);
      int64_t covered = 0;
      for (const DecayRun& run : decay_runs(unit, rank, world)) {
        EXPECT_EQ(run.begin, covered);
        EXPECT_LT(run.begin, run.end);
        covered = run.end;
        for (const TensorRange& range : tensor_ranges(unit, begin + run.begin, begin + run.end)) {
          EXPECT_EQ(run.decay, range.tensor->shape.size() >= 2);
        }
      }
      EXPECT_EQ(covered, shard_numel(unit, world));
    }
  }
}

TEST(SquaredSums, DoNotDependOnHowManySegmentsAreSummedAtOnce) {
  const std::vector<float> x = noise(64 * 192, 9, 3);
  std::vector<double> all(64), one(64);
  squared_sums(x.data(), 192, 64, all.data());
  for (int s = 0; s < 64; ++s) squared_sums(x.data() + s * 192, 192, 1, &one[s]);
  EXPECT_EQ(all, one);
  double plain = 0;
  for (int i = 0; i < 192; ++i) plain += static_cast<double>(x[i]) * x[i];
  EXPECT_NEAR(all[0], plain, 1e-9 * plain);
}

}  // namespace
}  // namespace tephra::sharding
