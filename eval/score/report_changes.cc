// What changed from stage to stage: the difference on the same questions, how sure it is, and whether it may be said at all.
#include <algorithm>
#include <cmath>
#include <map>

#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

std::string p_text(double p) { return p < 0.001 ? "p < 0.001" : "p = " + fixed(p, 3); }

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

std::string signed_text(double value, int digits) { return (value >= 0 ? "+" : "−") + fixed(std::abs(value), digits); }

// The case's worth in a bench's first measure; nothing when it has none.
std::optional<double> worth(const CaseRow& row, const std::string& kind) {
  const char* score = kind == "vqav2" || kind == "textvqa" ? "accuracy"
                      : kind == "captions"                 ? "cider"
                      : kind == "loss"                     ? "loss"
                      : kind == "llava_bench"              ? "answer_score"
                                                           : nullptr;
  if (score == nullptr) return row.correct ? 1.0 : 0.0;
  const auto found = row.scores.find(score);
  return found == row.scores.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

Change change_between(const BenchResult& before, const BenchResult& after) {
  Change change;
  change.differing = differing_settings(before, after);
  std::map<std::string, const CaseRow*> by_id;
  for (const auto& row : before.cases) by_id[row.id] = &row;
  std::vector<double> differences;
  std::vector<bool> first, second;
  for (const auto& row : after.cases) {
    const auto found = by_id.find(row.id);
    if (found == by_id.end()) continue;
    const auto a = worth(*found->second, before.kind), b = worth(row, after.kind);
    if (!a || !b) continue;
    differences.push_back(*b - *a);
    first.push_back(found->second->correct);
    second.push_back(row.correct);
  }
  change.questions = static_cast<int64_t>(differences.size());
  if (differences.empty()) return change;
  for (const double d : differences) change.difference += d / static_cast<double>(differences.size());
  change.interval = bootstrap_interval(differences, kReportSeed);
  if (has_right_answers(after.kind)) change.p_value = mcnemar_p_value(first, second);
  return change;
}

ReportTable change_table(const ReportInput& input, const BenchRow& bench) {
  ReportTable table{
      "changes-" + bench.name,
      "What changed",
      has_right_answers(bench.kind)
          ? "On the questions that both answered, with the 95 % bootstrap interval of the difference, and McNemar's "
            "test on which questions turned right or wrong."
          : "On the questions that both answered, with the 95 % bootstrap interval of the mean difference.",
      {"Stage", "Against", "Difference", "Questions", "McNemar"},
      {},
      2};
  const bool share = has_right_answers(bench.kind);
  const BenchResult* previous = nullptr;
  std::string previous_name;
  for (size_t i = 0; i < input.stages.size(); ++i) {
    const BenchResult* result = bench.by_stage[i];
    if (result == nullptr) continue;
    if (previous != nullptr) {
      const Change change = change_between(*previous, *result);
      std::vector<ReportCell> row = {text_cell(input.stages[i].name), text_cell(previous_name)};
      if (!change.differing.empty()) {
        row.push_back(text_cell("not comparable: another " + joined(change.differing)));
        row.push_back(absent_cell());
        row.push_back(absent_cell());
      } else if (change.questions == 0) {
        row.insert(row.end(), {absent_cell(), absent_cell(), absent_cell()});
      } else {
        const double scale = share ? 100 : 1;
        const int digits = share ? 1 : 3;
        ReportCell cell = number_cell(scale * change.difference, signed_text(scale * change.difference, digits));
        cell.low = scale * change.interval.low, cell.high = scale * change.interval.high;
        cell.range = signed_text(cell.low, digits) + " to " + signed_text(cell.high, digits);
        row.push_back(cell);
        row.push_back(number_cell(static_cast<double>(change.questions), grouped(change.questions)));
        row.push_back(change.p_value ? number_cell(*change.p_value, p_text(*change.p_value)) : absent_cell());
      }
      table.rows.push_back(std::move(row));
    }
    previous = result;
    previous_name = input.stages[i].name;
  }
  return table;
}

std::vector<std::string> findings_of(const ReportInput& input, const BenchRow& bench) {
  std::vector<std::string> findings;
  const BenchResult* previous = nullptr;
  std::string previous_name;
  for (size_t i = 0; i < input.stages.size(); ++i) {
    const BenchResult* result = bench.by_stage[i];
    if (result == nullptr) continue;
    const std::string& name = input.stages[i].name;
    if (previous != nullptr && has_right_answers(result->kind)) {
      const Change change = change_between(*previous, *result);
      if (!change.differing.empty())
        findings.push_back(name + " against " + previous_name + ": not comparable, as " + joined(change.differing) +
                           " differ.");
      else if (change.questions > 0)
        findings.push_back(name + " against " + previous_name + ": " + signed_text(100 * change.difference, 1) +
                           " points on " + grouped(change.questions) + " questions (" + p_text(*change.p_value) +
                           ", McNemar).");
    }
    if (auto p = metric(*result, "swap_p_value"))
      findings.push_back(name + " with swapped pictures: " + fixed(100 * *metric(*result, "accuracy_shown"), 1) +
                         " to " + fixed(100 * *metric(*result, "accuracy_swapped"), 1) + " % (" + p_text(*p) +
                         ", McNemar).");
    if (auto absent = count(*result, "images_absent"))
      findings.push_back(name + ": " + grouped(*absent) +
                         " questions were asked without their picture, whose file is absent.");
    if (auto unparsed = count(*result, "unparsed"); unparsed && *unparsed > 0)
      findings.push_back(name + ": " + grouped(*unparsed) +
                         (has_right_answers(result->kind) ? " answers could not be read and count as wrong."
                                                          : " answers could not be scored and are left out."));
    if (auto neither = count(*result, "neither"); neither && *neither > 0)
      findings.push_back(name + ": " + grouped(*neither) +
                         " answers say neither yes nor no; POPE's rule takes them for yes.");
    if (auto unread = count(*result, "judgments_unreadable"); unread && *unread > 0)
      findings.push_back(name + ": " + grouped(*unread) +
                         " of the judge's replies could not be read and are left out.");
    if (!result->incomplete.empty()) findings.push_back(name + ": incomplete. " + result->incomplete);
    previous = result;
    previous_name = name;
  }
  return findings;
}

}  // namespace tephra::eval
