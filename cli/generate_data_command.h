// `tephra data generate`.
#pragma once

#include "cli/app.h"

namespace tephra::cli {
void add_data_generate(Verbs& verbs, CLI::App* data);
}  // namespace tephra::cli
