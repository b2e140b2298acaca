// A job that starts from a checkpoint of the store (recipe key fork): whether that is one of the recipe's own model,
// before anything starts.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/status.h"
#include "coordinator/preparation.h"
#include "recipes/recipe.h"

namespace tephra::coordinator {

// `prepared` has the recipe's own base and hand-over; its base_checkpoint becomes the fork's, and of a fork that goes on
// its resume_step is set. `samples`: of each stage, where they were counted. kNotFound: there is no such checkpoint;
// kMismatch: it is another model's, with each difference, or cannot be gone on from, with why. Blocks on disk.
Status start_from_fork(const recipes::Recipe& recipe, const storage::Store& store,
                       const std::map<std::string, uint64_t>& samples, PreparedJob* prepared);

}  // namespace tephra::coordinator
