#include "base/hash.h"

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the library's plain functions use SSE2 only; these take what the processor has
#endif

#include <cstdio>

#include "base/hash_avx512.h"

namespace tephra {
namespace {
Hash128 from_xxh(XXH128_hash_t h) { return {h.high64, h.low64}; }
}  // namespace

std::string Hash128::hex() const {
  char text[33];
  std::snprintf(text, sizeof text, "%016lx%016lx", high, low);
  return text;
}

Result<Hash128> Hash128::parse(std::string_view hex) {
  if (hex.size() != 32 || hex.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return Status(Code::kInvalidArgument, "'" + std::string(hex) + "' is not a hash of 32 hexadecimal digits");
  return Hash128{std::stoull(std::string(hex.substr(0, 16)), nullptr, 16),
                 std::stoull(std::string(hex.substr(16)), nullptr, 16)};
}

Hash128 hash_bytes(std::span<const std::byte> bytes) {
#if defined(__x86_64__)
  static const bool avx512 = __builtin_cpu_supports("avx512f");
  if (avx512) {
    Hash128 hash;
    hash_avx512(bytes.data(), bytes.size(), hash.high, hash.low);
    return hash;
  }
#endif
  return from_xxh(XXH3_128bits(bytes.data(), bytes.size()));
}
Hash128 hash_text(std::string_view text) { return from_xxh(XXH3_128bits(text.data(), text.size())); }

struct Hasher::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh); }
Hasher::~Hasher() = default;
void Hasher::update(std::span<const std::byte> bytes) { XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()); }
void Hasher::update(std::string_view text) { XXH3_128bits_update(state_->xxh, text.data(), text.size()); }
Hash128 Hasher::digest() const { return from_xxh(XXH3_128bits_digest(state_->xxh)); }

}  // namespace tephra
