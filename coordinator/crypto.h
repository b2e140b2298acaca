// OpenSSL's hashes behind plain strings. Pure, but for random_hex.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tephra::coordinator {

std::string sha256_hex(std::string_view bytes);
std::string hmac_sha256_hex(std::string_view key, std::string_view bytes);
std::string random_hex(size_t bytes);  // of the kernel's randomness, two digits a byte

}  // namespace tephra::coordinator
