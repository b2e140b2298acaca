#include "base/random.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace tephra {
namespace {
uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
double unit(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }
}  // namespace

uint64_t random_bits(std::initializer_list<uint64_t> key) {
  uint64_t state = 0;
  for (uint64_t word : key) state = mix(state ^ word);
  return mix(state);
}

uint64_t random_below(uint64_t bound, std::initializer_list<uint64_t> key) {
  TEPHRA_CHECK(bound > 0, "random_below(0)");
  return static_cast<uint64_t>((static_cast<unsigned __int128>(random_bits(key)) * bound) >> 64);
}

double random_unit(std::initializer_list<uint64_t> key) { return unit(random_bits(key)); }

double random_normal(std::initializer_list<uint64_t> key) {
  uint64_t first = random_bits(key);
  double radius = std::sqrt(-2.0 * std::log(1.0 - unit(first)));
  return radius * std::cos(2.0 * std::numbers::pi * unit(mix(first)));
}

uint64_t key_of(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325ULL;  // FNV-1a
  for (unsigned char c : name) h = (h ^ c) * 0x100000001b3ULL;
  return h;
}

uint64_t permute(uint64_t index, uint64_t n, std::initializer_list<uint64_t> key) {
  TEPHRA_CHECK(index < n, "permute index out of range");
  if (n == 1) return 0;
  int half_bits = (std::bit_width(n - 1) + 1) / 2;
  uint64_t mask = (uint64_t{1} << half_bits) - 1;
  uint64_t seed = random_bits(key);
  do {  // the domain is under 4n, so this walks under four cycles on average
    uint64_t left = index >> half_bits, right = index & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      uint64_t next = left ^ (random_bits({seed, round, right}) & mask);
      left = right;
      right = next;
    }
    index = (left << half_bits) | right;
  } while (index >= n);
  return index;
}

}  // namespace tephra
