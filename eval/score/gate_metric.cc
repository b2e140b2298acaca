#include "eval/score/gate_metric.h"

#include <algorithm>
#include <cctype>

#include "eval/score/report.h"

namespace tephra::eval {

std::optional<double> gate_metric(const BenchResult& result, const std::string& name) {
  if (const auto found = result.metrics.find(name); found != result.metrics.end()) return found->second;
  for (const Column& column : result.columns) {
    std::string lower = column.name;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower == name) return column.count == 0 ? std::nullopt : std::optional(column.accuracy());
  }
  return std::nullopt;
}

double half_interval(const BenchResult& before, const BenchResult& after, const std::string& name) {
  const Interval interval = change_between(before, after).interval;
  const double half = (interval.high - interval.low) / 2;
  // A judge's scores are of ten, and its metrics in shares.
  return after.kind == "llava_bench" && name.ends_with("score") ? half / 10 : half;
}

}  // namespace tephra::eval
