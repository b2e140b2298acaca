// Completion scripts for shells.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "cli/command_tree.h"

namespace tephra::cli {

// `shell`: "bash", "zsh" or "fish"; kInvalidArgument for another. Verbs and options are completed; other words are file names.
Result<std::string> completion_script(const std::vector<Command>& commands, const std::string& shell);

}  // namespace tephra::cli
