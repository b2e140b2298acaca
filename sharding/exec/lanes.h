// Eight floats at a time, for the optimizers' loops over flat shards and for the kernels of model/nn. Vectors written out:
// the compiler does not vectorise these loops at -O2, sqrtf's errno alone forbids it. And as every element goes through
// the same instructions, with no scalar tail that would fall on other elements at another world size, a multiply-add is
// fused for all of them or for none.
#pragma once

#include <cstdint>
#include <cstring>

#include "sharding/plan/unit.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace tephra::sharding {

inline constexpr int64_t kLanes = 8;
inline constexpr int64_t kGrain = 1 << 15;  // floats that are worth a thread
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using WideLanes = double __attribute__((vector_size(kLanes / 2 * sizeof(double))));  // half of them: a register of AVX2
static_assert(kTensorAlignment % kLanes == 0);

inline Lanes load(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

inline WideLanes wide_half(const float* from) {
  float __attribute__((vector_size(kLanes / 2 * sizeof(float)))) half;
  std::memcpy(&half, from, sizeof(half));
  return __builtin_convertvector(half, WideLanes);
}

inline void store(const Lanes& lanes, float* to) { std::memcpy(to, &lanes, sizeof(lanes)); }

// For memory that is written once and not read soon: past the caches, which would first fetch what is overwritten. `to` is aligned to the
// lanes' size. Other threads see it after past_caches_done().
inline void store_past_caches(const Lanes& lanes, float* to) {
#if defined(__AVX__)
  _mm256_stream_ps(to, reinterpret_cast<__m256>(lanes));
#else
  store(lanes, to);
#endif
}
inline void past_caches_done() {
#if defined(__AVX__)
  _mm_sfence();
#endif
}

inline Lanes square_root(const Lanes& x) {
#if defined(__AVX__)
  return reinterpret_cast<Lanes>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#else
  Lanes root;
  for (int64_t lane = 0; lane < kLanes; ++lane) root[lane] = __builtin_sqrtf(x[lane]);
  return root;
#endif
}

}  // namespace tephra::sharding
