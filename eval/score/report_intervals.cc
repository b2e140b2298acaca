// How sure a measure is that is not a share of right answers: a bootstrap over the questions.
#include <algorithm>
#include <cmath>

#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

// What each question adds above and below the line of a measure that is a quotient of two sums over the questions.
struct Quotient {
  std::vector<double> above, below;
  double scale = 1;

  void add(double a, double b) { above.push_back(a), below.push_back(b); }
  double value() const {
    double a = 0, b = 0;
    for (const double x : above) a += x;
    for (const double x : below) b += x;
    return scale * a / b;
  }
};

Quotient mean_of(const BenchResult& result, const std::string& score) {
  Quotient out;
  for (const CaseRow& row : result.cases)
    if (const auto found = row.scores.find(score); found != row.scores.end()) out.add(found->second, 1);
  return out;
}

Quotient loss_by_tokens(const BenchResult& result) {
  Quotient out;
  for (const CaseRow& row : result.cases)
    if (row.scores.contains("loss") && row.scores.contains("tokens"))
      out.add(row.scores.at("loss") * row.scores.at("tokens"), row.scores.at("tokens"));
  return out;
}

// A question whose judgments were not all read weighs as much as the others here, and less in the measure.
Quotient relative_score(const BenchResult& result) {
  Quotient out;
  for (const CaseRow& row : result.cases)
    if (row.scores.contains("answer_score") && row.scores.contains("reference_score"))
      out.add(row.scores.at("answer_score"), row.scores.at("reference_score"));
  return out;
}

// Of the answered questions: F1 = 2 TP / (2 TP + FP + FN), or the share of yes.
Quotient yes_no(const BenchResult& result, bool f1) {
  Quotient out;
  for (const CaseRow& row : result.cases) {
    if (row.parsed.empty()) continue;
    const bool is = row.reference == "yes", said = row.parsed == "yes";
    if (f1)
      out.add(is && said ? 2 : 0, (is ? 1 : 0) + (said ? 1 : 0));
    else
      out.add(said ? 1 : 0, 1);
  }
  return out;
}

Quotient quotient_of(const BenchResult& result, const std::string& metric) {
  if (result.kind == "loss") return loss_by_tokens(result);
  if (metric == "relative_score") return relative_score(result);
  if (result.kind == "pope" && (metric == "f1" || metric == "yes_ratio")) return yes_no(result, metric == "f1");
  Quotient out = mean_of(result, metric);
  if (result.kind == "llava_bench") out.scale = 0.1;  // scores are of ten, the measures shares
  return out;
}

}  // namespace

std::optional<Interval> bootstrap_of(const BenchResult& result, const std::string& name) {
  const auto value = metric(result, name);
  const Quotient quotient = quotient_of(result, name);
  if (!value || quotient.above.size() < 2) return std::nullopt;
  const bool perplexity = name == "perplexity";
  // Only where the quotient is the measure itself; the relative score is rounded as LLaVA's script rounds it.
  const double mine = perplexity ? std::exp(quotient.value()) : quotient.value();
  const double tolerance = name == "relative_score" ? 0.01 : 1e-9 * std::max(1.0, std::abs(*value));
  if (!(std::abs(mine - *value) <= tolerance)) return std::nullopt;
  Interval interval = bootstrap_quotient_interval(quotient.above, quotient.below, kReportSeed);
  interval.low *= quotient.scale, interval.high *= quotient.scale;
  if (perplexity) interval.low = std::exp(interval.low), interval.high = std::exp(interval.high);
  return interval;
}

}  // namespace tephra::eval
