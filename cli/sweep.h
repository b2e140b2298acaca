// --sweep FIELD=VALUE,VALUE,...: one job for each combination of the values.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::cli {

// Each combination as overrides for load_recipe ("FIELD=VALUE"), the last sweep's values changing fastest. A comma inside
// brackets or quotes ends no value. kInvalidArgument: no '=', no value, a value that is empty, or more than 1,000 combinations.
Result<std::vector<std::vector<std::string>>> expand_sweeps(const std::vector<std::string>& sweeps);

}  // namespace tephra::cli
