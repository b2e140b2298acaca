// XXH3-128 with AVX-512, for processors that have it (x86-64 only): hash_bytes() takes it there. Plain types only, as this
// header is compiled with instructions that other files must not get.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tephra {
void hash_avx512(const void* bytes, size_t count, uint64_t& high, uint64_t& low);
}  // namespace tephra
