#include "coordinator/tokens.h"

#include <sys/random.h>

#include <cstdio>

#include "base/check.h"

namespace tephra::coordinator {

std::string random_token() {
  unsigned char bytes[16];
  TEPHRA_CHECK(getrandom(bytes, sizeof bytes, 0) == static_cast<ssize_t>(sizeof bytes),
               "the kernel gave no randomness");
  std::string text;
  for (unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

}  // namespace tephra::coordinator
