// Options that name a file or folder to read: refused with the option's name before anything runs.
#pragma once

#include <CLI/CLI.hpp>

namespace tephra::cli {

// The path is there (a file or a folder).
CLI::Validator existing_path();

}  // namespace tephra::cli
