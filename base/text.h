// Numbers in sentences.
#pragma once

#include <string>

namespace tephra {

std::string fixed(double value, int digits);  // "0.123"
std::string human_bytes(double bytes);        // "1.5 GB" (powers of ten)

}  // namespace tephra
