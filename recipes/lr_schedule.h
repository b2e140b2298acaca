// Learning rate by step, equal to transformers' get_{cosine,linear,constant}_schedule_with_warmup. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace tephra::recipes {

// Warm-up steps: ceil(warmup_ratio * total_steps), as transformers' Trainer rounds it.
int64_t warmup_steps(double warmup_ratio, int64_t total_steps);

// The rate that step `step_index` (0-based, < total_steps) uses. kind: "cosine" | "linear" | "constant"; another is our
// bug. Warm-up is linear from 0, so with any warm-up step 0 has rate 0; afterwards cosine falls to 0 over half a
// period, linear to 0, constant stays.
double learning_rate(std::string_view kind, double base_lr, int64_t step_index, int64_t total_steps,
                     double warmup_ratio);

}  // namespace tephra::recipes
