// How deep JSON text is nested, before anything that recurses over it sees it: a body of a mebibyte can hold half a million
// open brackets, and printing such a document takes a stack frame for each.
#pragma once

#include <cstddef>
#include <string_view>

namespace tephra::coordinator {

inline constexpr size_t kJsonDepthMax = 64;

// The most brackets and braces that are open at once; text within quotes does not count. Of any text.
size_t json_depth(std::string_view text);

}  // namespace tephra::coordinator
