// The other program of the installation.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::cli {

// tephra-worker beside this program, or where TEPHRA_WORKER says. kNotFound says where it was looked for.
Result<std::string> find_worker();
// Replaces this process by tephra-worker with `arguments` (its name left out). Returns only on failure.
Status exec_worker(const std::vector<std::string>& arguments);

}  // namespace tephra::cli
