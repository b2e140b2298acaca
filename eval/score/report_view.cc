#include "eval/score/report_view.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "eval/score/published_rows.h"
#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

// The caller's baselines, and the majority's when the results know it and the caller did not say.
std::vector<Baseline> all_baselines(const ReportInput& input, const std::vector<BenchRow>& benches) {
  std::vector<Baseline> baselines = input.baselines;
  for (const auto& baseline : baselines)
    if (baseline.name == "majority") return baselines;
  Baseline majority{"majority", {}};
  for (const auto& bench : benches)
    if (auto value = metric(*bench.last(), "majority")) majority.metrics[bench.name] = *value;
  if (!majority.metrics.empty()) baselines.insert(baselines.begin(), majority);
  return baselines;
}

ReportTable headline_table(const ReportInput& input, const std::vector<BenchRow>& benches) {
  ReportTable table{
      "headline",
      "Results",
      "Percent where no other unit is named, with 95 % confidence intervals. Guessing: what an answerer that knows nothing expects. Majority: "
      "always the most frequent answer. Blind: the most frequent answer to the same question in training, "
      "which no picture is needed for. Swapped pictures: the model itself, shown another question's picture.",
      {},
      {},
      2};
  const auto baselines = all_baselines(input, benches);
  table.header = {"Bench", "Measure", "Questions"};
  for (const auto& stage : input.stages) table.header.push_back(stage.name);
  table.header.push_back("guessing");
  for (const auto& baseline : baselines) table.header.push_back(baseline.name);
  for (const auto& bench : benches) {
    for (const auto& m : measures_of(bench.kind)) {
      const BenchResult& last = *bench.last();
      if (!metric(last, m.metric)) continue;
      const bool first = m.metric == "accuracy";
      const bool mean = m.correct == nullptr;
      const auto n = count(last, m.total);
      std::vector<ReportCell> row = {text_cell(bench.name), text_cell(m.label),
                                     n ? number_cell(static_cast<double>(*n), grouped(*n)) : absent_cell()};
      for (const BenchResult* result : bench.by_stage) {
        row.push_back(result == nullptr ? absent_cell() : measure_cell(*result, m));
        if (result == nullptr) continue;
        if (!differing_settings(*result, last).empty()) row.back().mark = "not comparable";
        if (!result->incomplete.empty()) row.back().mark = "incomplete";
      }
      const auto guess = metric(last, "guess_level");
      row.push_back(guess && !mean ? percent_cell(*guess, std::nullopt) : absent_cell());
      for (const auto& baseline : baselines) {
        const auto value = baseline.metrics.find(bench.name);
        row.push_back(first && value != baseline.metrics.end() ? percent_cell(value->second, std::nullopt)
                                                               : absent_cell());
      }
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

std::vector<ReportRanges> range_pictures(const ReportInput& input, const std::vector<BenchRow>& benches) {
  std::vector<ReportRanges> pictures;
  for (const auto& bench : benches) {
    ReportRanges picture;
    picture.title = bench.name;
    if (auto guess = metric(*bench.last(), "guess_level")) picture.guess = 100 * *guess;
    for (size_t i = 0; i < input.stages.size(); ++i) {
      const BenchResult* result = bench.by_stage[i];
      if (result == nullptr || !metric(*result, "accuracy")) continue;
      picture.rows.push_back({input.stages[i].name, proportion_cell(*result, "accuracy", "correct", "total"), false});
      if (metric(*result, "accuracy_swapped"))
        picture.rows.push_back({"swapped pictures",
                                proportion_cell(*result, "accuracy_swapped", "correct_swapped", "count_swapped"),
                                true});
    }
    if (!picture.rows.empty()) pictures.push_back(std::move(picture));
  }
  return pictures;
}

ReportTable stage_table(const ReportInput& input) {
  ReportTable table{"stages",
                    "Stages",
                    "",
                    {"Stage", "Kind", "Checkpoint", "Steps", "First loss", "Last loss", "Trained parameters", "Ranks",
                     "Attempts", "Time", "Tokens/s"},
                    {},
                    3};
  for (const auto& stage : input.stages) {
    const auto whole = [](int64_t value) {
      return value > 0 ? number_cell(static_cast<double>(value), grouped(value)) : absent_cell();
    };
    std::vector<double> speeds;
    for (const auto& point : stage.curve)
      if (point.tokens_per_s > 0) speeds.push_back(point.tokens_per_s);
    std::sort(speeds.begin(), speeds.end());
    const bool curve = !stage.curve.empty();
    ReportCell parameters = whole(stage.trained_parameters);
    if (stage.trained_parameters > 0 && stage.total_parameters > 0)
      parameters.range = "of " + grouped(stage.total_parameters);
    table.rows.push_back(
        {text_cell(stage.name), text_cell(stage.kind.empty() ? "–" : stage.kind),
         text_cell(stage.checkpoint.empty() ? "–" : stage.checkpoint),
         whole(static_cast<int64_t>(stage.curve.empty() ? 0 : stage.curve.back().step + 1)),
         curve ? number_cell(stage.curve.front().loss, fixed(stage.curve.front().loss, 3)) : absent_cell(),
         curve ? number_cell(stage.curve.back().loss, fixed(stage.curve.back().loss, 3)) : absent_cell(), parameters,
         whole(stage.world_size), whole(stage.attempts),
         stage.duration_s > 0 ? number_cell(stage.duration_s, duration_text(stage.duration_s)) : absent_cell(),
         speeds.empty() ? absent_cell()
                        : number_cell(speeds[speeds.size() / 2], grouped(std::llround(speeds[speeds.size() / 2])))});
  }
  return table;
}

std::string summary_of(const ReportInput& input, const std::vector<BenchRow>& benches) {
  std::string out;
  for (const auto& bench : benches) {
    const BenchResult& last = *bench.last();
    const auto accuracy = metric(last, "accuracy");
    if (!accuracy) continue;
    const auto at = std::find(bench.by_stage.rbegin(), bench.by_stage.rend(), &last);
    const auto& stage = input.stages[static_cast<size_t>(bench.by_stage.rend() - at) - 1];
    out +=
        (out.empty() ? "" : " ") + stage.name + " gets " + fixed(100 * *accuracy, 1) + " % of " + bench.name + " right";
    if (auto guess = metric(last, "guess_level")) out += ", where guessing gives " + fixed(100 * *guess, 1) + " %";
    if (auto blind = metric(last, "blind"))
      out += ", knowing the questions without their pictures " + fixed(100 * *blind, 1) + " %";
    if (auto swapped = metric(last, "accuracy_swapped"))
      out += " and swapped pictures leave " + fixed(100 * *swapped, 1) + " %";
    out += ".";
  }
  return out;
}

}  // namespace

ReportView make_report_view(const ReportInput& input) {
  const auto benches = bench_rows(input.stages);
  ReportView view;
  view.summary = summary_of(input, benches);
  if (!input.ended_early.empty())
    view.warnings.push_back("The job did not finish; this is what it had done. It " + input.ended_early);
  view.headline = headline_table(input, benches);
  view.ranges = range_pictures(input, benches);
  view.stages = stage_table(input);
  view.during = during_of(input);
  for (const auto& bench : benches) {
    ReportBench out{bench.name,
                    bench.kind,
                    column_table(input, bench),
                    group_tables(input, bench),
                    change_table(input, bench),
                    pinned_table(input, bench, &view.warnings),
                    findings_of(input, bench),
                    examples_of(input, bench),
                    failures_of(input, bench)};
    for (size_t i = 0; i < input.stages.size(); ++i)
      if (bench.by_stage[i] != nullptr && !bench.by_stage[i]->incomplete.empty())
        view.warnings.push_back("Bench " + bench.name + " after " + input.stages[i].name +
                                " is incomplete: " + bench.by_stage[i]->incomplete);
    if (bench.last()->published == kScienceQaTest) add_published_rows(&out.columns);
    view.benches.push_back(std::move(out));
  }
  return view;
}

}  // namespace tephra::eval
