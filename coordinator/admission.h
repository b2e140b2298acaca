// Whether a recipe can fit the machine's memory, asked before anything starts.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/status.h"
#include "recipes/recipe.h"

namespace tephra::coordinator {

// kUnavailable, permanent, with why_not()'s sentence when a stage's ranks together need more than `machine_bytes`, with any
// of the numbers of ranks that the recipe permits.
// longest: tokens of the longest sample by stage, where it is known. Where it is not, only what samples of any length
// take counts: a max_length that no sample reaches refuses nothing. A stage whose configuration cannot be read is
// passed over: preparing it says why in better words.
Status check_memory(const recipes::Recipe& recipe, int64_t machine_bytes,
                    const std::map<std::string, int64_t>& longest = {});

}  // namespace tephra::coordinator
