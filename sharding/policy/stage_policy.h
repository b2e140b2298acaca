// From a stage of a recipe to the policy of its schedule: one function for the plan and for the workers, so that what
// was planned is what runs.
#pragma once

#include "recipes/recipe.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {

// The stage on so many ranks. kInvalidArgument, with the remedy, when its global batch cannot be shared out over them;
// everything else the recipe's own checks have seen to. sharding.prefetch: auto gives a depth of 1, in place of which
// comes what choose_prefetch() says.
Result<Policy> stage_policy(const recipes::StageRecipe& stage, int64_t ranks);

}  // namespace tephra::sharding
