// Secrets that the coordinator makes.
#pragma once

#include <string>

namespace tephra::coordinator {

std::string random_token();  // 128 bits of the kernel's randomness as 32 hexadecimal digits

}  // namespace tephra::coordinator
