// Trains one stage on this rank, from the checkpoint in the task to the stage's last commit. Collective over the gang.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "sharding/plan/unit.h"
#include "worker/task_context.h"

namespace tephra::worker {

// Reports every step (rank 0), writes a checkpoint every checkpoint.every_steps and at the end, and returns when the last one is
// committed: the stage's, or that of a step on which a bench is run (BenchRecipe::every_steps). After Stop: finishes the step,
// commits a checkpoint, and returns kCancelled. Steps whose loss or gradient is not finite: skipped_steps.h.
Status train_stage(const TaskContext& context);

// The rate of each unit in step `step_index` (0-based): the connector's own where the recipe gives it one.
std::vector<double> learning_rates(const recipes::StageRecipe& stage, const std::vector<sharding::UnitSpec>& units,
                                   int64_t step_index, int64_t total_steps);

}  // namespace tephra::worker
