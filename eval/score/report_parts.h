// Pieces that the parts of the report are made of: cells, the measures of each kind of bench, and one bench's results by stage.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/score/report_view.h"
#include "eval/score/statistics.h"

namespace tephra::eval {

inline constexpr uint64_t kReportSeed = 17;  // of every bootstrap in the report

ReportCell text_cell(std::string text);
ReportCell number_cell(double value, std::string text);
ReportCell absent_cell();
// A share as percent, with its interval.
ReportCell percent_cell(double share, const std::optional<Interval>& interval, int digits = 1);

std::optional<double> metric(const BenchResult& result, const std::string& name);
std::optional<int64_t> count(const BenchResult& result, const std::string& name);

// The 95 % bootstrap interval of a measure that is a mean over the questions or a quotient of two sums over them; nothing where it
// is neither (BLEU, MME's sums) or of fewer than two questions.
std::optional<Interval> bootstrap_of(const BenchResult& result, const std::string& name);

// A row of the headline table.
struct Measure {
  enum class Unit { kShare, kNumber };  // shares are shown in percent
  std::string metric, label;
  Unit unit = Unit::kShare;
  const char* correct =
      nullptr;  // counts that a proportion's interval comes from; nullptr: the mean of CaseRow::scores[metric], or
  const char* total = "total";  // a number over all cases that has no interval
  int digits = 1;
};
std::vector<Measure> measures_of(const std::string& kind);
ReportCell measure_cell(const BenchResult& result, const Measure& measure);
ReportCell proportion_cell(const BenchResult& result, const std::string& name, const std::string& correct,
                           const std::string& total);

// The stages' results of one bench, in the stages' order; nullptr where a stage has none.
struct BenchRow {
  std::string name;
  std::string kind;
  std::vector<const BenchResult*> by_stage;
  const BenchResult* last() const;
};
std::vector<BenchRow> bench_rows(const std::vector<StageReport>& stages);

// Whether a pinned value says whose answers were scored (a file of answers, a model, an ensemble's two files): results that
// differ in that alone are what a comparison is for.
bool names_subject(const std::string& key);
// Names of the settings in which two results differ, so that their numbers should not be compared: pinned values but subjects.
std::vector<std::string> differing_settings(const BenchResult& first, const BenchResult& second);

// report_benches.cc
ReportTable column_table(const ReportInput& input, const BenchRow& bench);
std::vector<ReportTable> group_tables(const ReportInput& input, const BenchRow& bench);
ReportTable change_table(const ReportInput& input, const BenchRow& bench);
ReportTable pinned_table(const ReportInput& input, const BenchRow& bench, std::vector<std::string>* warnings);
std::vector<std::string> findings_of(const ReportInput& input, const BenchRow& bench);

// report_during.cc: of every bench that was run during a stage, by stage.
std::vector<ReportDuring> during_of(const ReportInput& input);

// report_examples.cc: reads pictures.
std::vector<ReportExample> examples_of(const ReportInput& input, const BenchRow& bench);
// The most telling failures of the last stage, each with the reason why it is one.
std::vector<ReportExample> failures_of(const ReportInput& input, const BenchRow& bench);

}  // namespace tephra::eval
