#include "coordinator/crypto.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "base/check.h"

namespace tephra::coordinator {
namespace {

std::string hex(const unsigned char* bytes, size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  TEPHRA_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) == 1,
               "OpenSSL has no SHA-256");
  return hex(digest, length);
}

std::string hmac_sha256_hex(std::string_view key, std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  TEPHRA_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                    reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest, &length) != nullptr,
               "OpenSSL has no HMAC-SHA-256");
  return hex(digest, length);
}

std::string random_hex(size_t bytes) {
  std::string raw(bytes, '\0');
  TEPHRA_CHECK(getrandom(raw.data(), bytes, 0) == static_cast<ssize_t>(bytes), "the kernel gave no randomness");
  return hex(reinterpret_cast<const unsigned char*>(raw.data()), bytes);
}

}  // namespace tephra::coordinator
