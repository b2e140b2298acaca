// The build's version: ranks of a gang and their coordinator must be of the same one.
#pragma once

#include <string_view>

namespace tephra {
inline constexpr std::string_view kVersion = "0.1.0";
}
