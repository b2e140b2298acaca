// Where the running program lies: the other parts of an installation are found from there.
#pragma once

#include <string>

#include "base/status.h"

namespace tephra {

// The folder of the running program, absolute, links resolved, without a slash at the end.
Result<std::string> program_folder();

}  // namespace tephra
