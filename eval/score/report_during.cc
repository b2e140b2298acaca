// What benches measured while a stage trained: one curve and one table a stage and bench.
#include <algorithm>

#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

// The bench's results by step; the last is the stage's own, where it has one.
std::vector<std::pair<int64_t, const BenchResult*>> results_by_step(const StageReport& stage,
                                                                    const std::string& bench) {
  std::vector<std::pair<int64_t, const BenchResult*>> results;
  for (const DuringStage& during : stage.during)
    if (during.result.bench == bench) results.emplace_back(during.step, &during.result);
  for (const BenchResult& result : stage.benches)
    if (result.bench == bench && !stage.curve.empty()) results.emplace_back(stage.curve.back().step + 1, &result);
  return results;
}

ReportDuring one(const StageReport& stage, const BenchResult& first) {
  ReportDuring out;
  const std::string& bench = first.bench;
  out.table = {"during-" + stage.name + "-" + bench, bench + " during " + stage.name, "", {"Step"}, {}, 0};
  std::vector<Measure> measures;
  for (const Measure& measure : measures_of(first.kind))
    if (metric(first, measure.metric)) measures.push_back(measure);
  for (const Measure& measure : measures) out.table.header.push_back(measure.label);
  if (!measures.empty())
    out.measure = measures.front().label + (measures.front().unit == Measure::Unit::kShare ? ", percent" : "");
  for (const auto& [step, result] : results_by_step(stage, bench)) {
    std::vector<ReportCell> row = {number_cell(static_cast<double>(step), grouped(step))};
    for (const Measure& measure : measures) row.push_back(measure_cell(*result, measure));
    if (!result->incomplete.empty()) row.front().mark = "incomplete";
    if (row.size() > 1) out.points.emplace_back(step, row[1]);
    out.table.rows.push_back(std::move(row));
  }
  return out;
}

}  // namespace

std::vector<ReportDuring> during_of(const ReportInput& input) {
  std::vector<ReportDuring> all;
  for (const StageReport& stage : input.stages) {
    std::vector<std::string> benches;
    for (const DuringStage& during : stage.during) {
      if (std::find(benches.begin(), benches.end(), during.result.bench) != benches.end()) continue;
      benches.push_back(during.result.bench);
      all.push_back(one(stage, during.result));
    }
  }
  return all;
}

}  // namespace tephra::eval
