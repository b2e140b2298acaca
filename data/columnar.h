// Formats that are recognised to be refused in a sentence that helps.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace tephra::data {

// kUnsupported when `bytes`, the beginning of file `path`, is Parquet's or Arrow's, with how to rewrite it.
Status refuse_columnar(std::string_view bytes, const std::string& path);

}  // namespace tephra::data
