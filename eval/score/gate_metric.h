// What a gate can ask of a result: its metrics, and its columns by their names in lower case ("scienceqa.avg", "scienceqa.g1-6").
#pragma once

#include <optional>
#include <string>

#include "eval/score/results.h"

namespace tephra::eval {

std::optional<double> gate_metric(const BenchResult& result, const std::string& name);

// Half the width of the 95 % bootstrap interval of the difference on the questions that both answered, in the metric's unit: of the
// accuracy, or of the bench's score per question. Other metrics (columns, F1) take the accuracy's.
double half_interval(const BenchResult& before, const BenchResult& after, const std::string& name);

}  // namespace tephra::eval
