// What a stage does with steps whose loss or gradient is not finite, and so changed nothing (StepStats::skipped).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "sharding/exec/executor.h"
#include "worker/step_loader.h"

namespace tephra::worker {

// Indices, over the whole batch, of the micro-batches whose samples are to be named: those whose loss is not finite, or,
// where every loss is, all, since any may have made the gradient overflow. Equal on every rank.
std::vector<size_t> suspects(const sharding::StepStats& stats);

// The ids of this rank's samples in `suspects`, joined by commas. first: index of the rank's first micro-batch.
std::string suspect_ids(const std::vector<size_t>& suspects, const StepSamples& samples, size_t first);

// Decisions are functions of what all ranks know, so every rank makes the same.
class SkippedSteps {
 public:
  // in_a_row: steps skipped for that reason just before the first one here, from the checkpoint.
  SkippedSteps(const recipes::OptimizerRecipe& recipe, std::string stage, int64_t in_a_row = 0)
      : fails_(recipe.on_nonfinite == "fail"),
        limit_(recipe.max_skipped_steps),
        stage_(std::move(stage)),
        in_a_row_(in_a_row) {}

  void went_well() { in_a_row_ = 0; }
  int64_t in_a_row() const { return in_a_row_; }

  // Step `step` was skipped; samples: each rank's suspect_ids. The line for the log, or, when the recipe says that the
  // job is to end, kInvalidArgument (permanent: the same step would come out the same again). Either names step and
  // samples.
  Result<std::string> skipped(int64_t step, const sharding::StepStats& stats, const std::vector<std::string>& samples);

 private:
  const bool fails_;
  const int64_t limit_;
  const std::string stage_;
  int64_t in_a_row_;
};

}  // namespace tephra::worker
