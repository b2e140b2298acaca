// A plan as a person reads it, and as a program does.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/planner.h"

namespace tephra::cli {

struct PlannedJob {
  std::string name;
  coordinator::PlanSetting setting;
  std::vector<coordinator::PlannedStage> stages;
  std::vector<std::optional<std::string>> misfits;  // why_not, of each stage
  int64_t base_bytes = 0;
};

std::string to_text(const PlannedJob& job);
nlohmann::json to_json(const PlannedJob& job);  // an array with an object a stage; null where a figure is not known

}  // namespace tephra::cli
