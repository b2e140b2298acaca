// Answers one bench from a committed checkpoint, this rank's share of it.
#pragma once

#include "base/status.h"
#include "eval/score/questions.h"
#include "recipes/recipe.h"
#include "worker/task_context.h"

namespace tephra::worker {

// Sends Answers as they are made. kCancelled after Stop.
Status evaluate_bench(const TaskContext& context);

}  // namespace tephra::worker
