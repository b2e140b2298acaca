// What the kernels of this folder need beside sharding/exec/lanes.h: bfloat16, sums, maxima and exponentials of eight floats at a time.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

#include "sharding/exec/lanes.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace tephra::model {

using sharding::kLanes;
using sharding::Lanes;
using sharding::load;
using sharding::store;
using IntLanes = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));
using UIntLanes = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));

// bfloat16 is the upper half of a float32.
inline Lanes load(const at::BFloat16* from) {
#ifdef __AVX2__  // one instruction, of which GCC 12 makes five
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return reinterpret_cast<Lanes>(_mm256_slli_epi32(wide, 16));
#else
  uint16_t __attribute__((vector_size(kLanes * sizeof(uint16_t)))) halves;
  std::memcpy(&halves, from, sizeof halves);
  return reinterpret_cast<Lanes>(__builtin_convertvector(halves, IntLanes) << 16);
#endif
}
// To the nearest, ties to even. Not for NaN whose payload is all in the lower half.
inline void store(const Lanes& lanes, at::BFloat16* to) {
  const auto bits = reinterpret_cast<UIntLanes>(lanes);
  const UIntLanes rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const auto halves =
      __builtin_convertvector(rounded, uint16_t __attribute__((vector_size(kLanes * sizeof(uint16_t)))));
  std::memcpy(to, &halves, sizeof halves);
}

inline float sum(const Lanes& x) {
  const auto four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
  const auto two = four + __builtin_shufflevector(four, four, 2, 3, 0, 1);
  return two[0] + two[1];
}

inline Lanes larger(const Lanes& a, const Lanes& b) { return b > a ? b : a; }
inline float max(const Lanes& x) {
  float top = x[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) top = x[lane] > top ? x[lane] : top;
  return top;
}

// e^x within two units in the last place for x from -87 to 88, and that of the nearer end beyond.
inline Lanes exponential(Lanes x) {
  x = x < -87.0f ? Lanes{} - 87.0f : x;
  x = x > 88.0f ? Lanes{} + 88.0f : x;
  // x = n ln 2 + r: adding 1.5 * 2^23 rounds to an integer, which then stands in the last bits.
  const Lanes shifted = x * 1.44269504f + 12582912.0f;
  const Lanes n = shifted - 12582912.0f;
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts, the first exact in few bits
  Lanes power = r * (1.0f / 5040) + 1.0f / 720;                  // Taylor; |r| <= ln 2 / 2
  power = power * r + 1.0f / 120;
  power = power * r + 1.0f / 24;
  power = power * r + 1.0f / 6;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  return power * reinterpret_cast<Lanes>((reinterpret_cast<IntLanes>(shifted) - 0x4B400000 + 127) << 23);
}

}  // namespace tephra::model
