// A gate: what a stage's bench has to reach before the next stage starts, as a recipe writes it (stages[].require).
//   scienceqa.avg >= 45%            a metric of a bench, and a share or a plain number
//   scienceqa.avg >= previous - ci  against the stage before; ci: half the 95 % interval of the difference on the same questions
//   heldout.loss <= previous + 0.05
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::recipes {

struct Gate {
  std::string bench, metric;
  std::string comparison;  // >= | > | <= | <
  bool previous = false;   // `margin` is added to the value of the stage before
  double margin = 0;       // without previous: the bar itself
  double ci = 0;           // -1, 0 or 1: how often ci is added
};

// kInvalidArgument says which part is wrong and what a gate is.
Result<Gate> parse_gate(const std::string& text);

struct GateOutcome {
  bool passed = false;
  std::string said;  // "scienceqa.avg 0.431 >= 0.452 (previous 0.458 - ci 0.006): failed"
};

// before: of the nearest earlier stage that has the metric. Nothing to compare with passes, and is said; a metric that was not
// measured fails.
GateOutcome judge_gate(const Gate& gate, std::optional<double> value, std::optional<double> before, double ci);

}  // namespace tephra::recipes
