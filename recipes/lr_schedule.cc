#include "recipes/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "base/check.h"

namespace tephra::recipes {

int64_t warmup_steps(double warmup_ratio, int64_t total_steps) {
  return static_cast<int64_t>(std::ceil(warmup_ratio * static_cast<double>(total_steps)));
}

double learning_rate(std::string_view kind, double base_lr, int64_t step_index, int64_t total_steps,
                     double warmup_ratio) {
  const int64_t warmup = warmup_steps(warmup_ratio, total_steps);
  if (step_index < warmup)
    return base_lr * (static_cast<double>(step_index) / static_cast<double>(std::max<int64_t>(1, warmup)));
  if (kind == "constant") return base_lr;
  const auto past = static_cast<double>(step_index - warmup);
  const auto span = static_cast<double>(std::max<int64_t>(1, total_steps - warmup));
  if (kind == "linear") return base_lr * std::max(0.0, (span - past) / span);
  TEPHRA_CHECK(kind == "cosine", "unknown learning rate schedule " + std::string(kind));
  return base_lr * std::max(0.0, 0.5 * (1.0 + std::cos(std::numbers::pi * past / span)));
}

}  // namespace tephra::recipes
