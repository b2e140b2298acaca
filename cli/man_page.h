// The manual page tephra(1).
#pragma once

#include <string>
#include <vector>

#include "cli/command_tree.h"

namespace tephra::cli {

// In roff's man macros.
std::string man_page(const std::vector<Command>& commands, const std::string& version);

}  // namespace tephra::cli
