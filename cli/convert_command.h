// `tephra data convert`.
#pragma once

#include "cli/app.h"

namespace tephra::cli {
void add_data_convert(Verbs& verbs, CLI::App* data);
}  // namespace tephra::cli
