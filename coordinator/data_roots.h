// Which files a submitted recipe may name. docs/security.md: without roots, whatever the coordinator's account can read.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::coordinator {

// Of a resolved recipe (recipes::to_json), whose paths are absolute: each of them, symbolic links followed, lies in or below
// one of `roots`; empty: anywhere. kPermission names the first that does not. Blocks on disk.
Status check_data_roots(const std::string& recipe_json, const std::vector<std::string>& roots);

}  // namespace tephra::coordinator
