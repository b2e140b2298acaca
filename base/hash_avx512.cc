// libxxhash.so has AVX-512 code too, but is slower on a block that lies in the core's cache than the same code compiled with
// the flags that CMakeLists.txt gives this file.
#include "base/hash_avx512.h"

#if defined(__AVX512F__)
#define XXH_INLINE_ALL   // its functions become this file's own, so that no other file is linked with these
#define XXH_NO_PREFETCH  // these instructions cost time where the block is in the cache, as when it was just read
#include <xxhash.h>

namespace tephra {

void hash_avx512(const void* bytes, size_t count, uint64_t& high, uint64_t& low) {
  const XXH128_hash_t hash = XXH3_128bits(bytes, count);
  high = hash.high64;
  low = hash.low64;
}

}  // namespace tephra
#endif
