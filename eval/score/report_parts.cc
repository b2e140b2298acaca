#include "eval/score/report_parts.h"

#include <algorithm>
#include <set>

namespace tephra::eval {

ReportCell text_cell(std::string text) {
  ReportCell cell;
  cell.text = std::move(text);
  return cell;
}

ReportCell number_cell(double value, std::string text) {
  ReportCell cell;
  cell.text = std::move(text);
  cell.value = value;
  cell.numeric = true;
  return cell;
}

ReportCell absent_cell() {
  ReportCell cell = text_cell("–");
  cell.numeric = true;
  return cell;
}

ReportCell percent_cell(double share, const std::optional<Interval>& interval, int digits) {
  ReportCell cell = number_cell(100 * share, fixed(100 * share, digits));
  if (interval) {
    cell.low = 100 * interval->low;
    cell.high = 100 * interval->high;
    cell.range = fixed(cell.low, digits) + "–" + fixed(cell.high, digits);
  }
  return cell;
}

std::optional<double> metric(const BenchResult& result, const std::string& name) {
  const auto found = result.metrics.find(name);
  return found == result.metrics.end() ? std::nullopt : std::optional(found->second);
}

std::optional<int64_t> count(const BenchResult& result, const std::string& name) {
  const auto found = result.counts.find(name);
  return found == result.counts.end() ? std::nullopt : std::optional(found->second);
}

std::vector<Measure> measures_of(const std::string& kind) {
  using Unit = Measure::Unit;
  const std::vector<Measure> swaps = {
      {"accuracy_shown", "picture questions, own pictures", Unit::kShare, "correct_shown", "count_swapped", 1},
      {"accuracy_swapped", "picture questions, swapped pictures", Unit::kShare, "correct_swapped", "count_swapped", 1}};
  std::vector<Measure> out;
  if (kind == "captions")
    return {{"cider", "CIDEr-D", Unit::kNumber, nullptr, "total", 3},
            {"bleu_4", "BLEU-4", Unit::kShare, nullptr, "total", 1},
            {"bleu_1", "BLEU-1", Unit::kShare, nullptr, "total", 1}};
  if (kind == "loss")
    return {{"loss", "loss, nats per token", Unit::kNumber, nullptr, "total", 3},
            {"perplexity", "perplexity", Unit::kNumber, nullptr, "total", 2}};
  if (kind == "llava_bench")
    return {{"relative_score", "percent of the reference's score", Unit::kShare, nullptr, "judged", 1},
            {"answer_score", "the answers' score, percent of ten points", Unit::kShare, nullptr, "judged", 1},
            {"reference_score", "the reference's score, percent of ten points", Unit::kShare, nullptr, "judged", 1}};
  const bool soft = kind == "vqav2" || kind == "textvqa";
  out.push_back({"accuracy", kind == "instruct" ? "exact match" : "accuracy", Unit::kShare, soft ? nullptr : "correct",
                 "total", 1});
  if (kind == "pope")
    out.insert(out.end(), {{"f1", "F1", Unit::kShare, nullptr, "total", 1},
                           {"yes_ratio", "said yes", Unit::kShare, nullptr, "total", 1}});
  if (kind == "mme")
    out.insert(out.end(), {{"perception", "perception, of 2000", Unit::kNumber, nullptr, "total", 1},
                           {"cognition", "cognition, of 800", Unit::kNumber, nullptr, "total", 1}});
  if (kind == "instruct")
    out.insert(out.end(), {{"token_f1", "token F1", Unit::kShare, nullptr, "total", 1},
                           {"rouge_l", "ROUGE-L", Unit::kShare, nullptr, "total", 1}});
  out.insert(out.end(), swaps.begin(), swaps.end());
  return out;
}

ReportCell proportion_cell(const BenchResult& result, const std::string& name, const std::string& correct,
                           const std::string& total) {
  const auto value = metric(result, name);
  if (!value) return absent_cell();
  const auto right = count(result, correct), all = count(result, total);
  return percent_cell(*value, right && all && *all > 0 ? std::optional(wilson_interval(*right, *all)) : std::nullopt);
}

ReportCell measure_cell(const BenchResult& result, const Measure& m) {
  const auto value = metric(result, m.metric);
  if (!value) return absent_cell();
  if (m.correct != nullptr) return proportion_cell(result, m.metric, m.correct, m.total);
  const std::optional<Interval> interval = bootstrap_of(result, m.metric);
  if (m.unit == Measure::Unit::kShare) return percent_cell(*value, interval, m.digits);
  ReportCell cell = number_cell(*value, fixed(*value, m.digits));
  if (interval) {
    cell.low = interval->low, cell.high = interval->high;
    cell.range = fixed(cell.low, m.digits) + "–" + fixed(cell.high, m.digits);
  }
  return cell;
}

const BenchResult* BenchRow::last() const {
  for (auto it = by_stage.rbegin(); it != by_stage.rend(); ++it)
    if (*it != nullptr) return *it;
  return nullptr;
}

std::vector<BenchRow> bench_rows(const std::vector<StageReport>& stages) {
  std::vector<BenchRow> rows;
  for (size_t i = 0; i < stages.size(); ++i) {
    for (const auto& bench : stages[i].benches) {
      auto row = std::find_if(rows.begin(), rows.end(), [&](const BenchRow& r) { return r.name == bench.bench; });
      if (row == rows.end())
        row = rows.insert(rows.end(), {bench.bench, bench.kind, std::vector<const BenchResult*>(stages.size())});
      row->by_stage[i] = &bench;
    }
  }
  return rows;
}

bool names_subject(const std::string& key) {
  return key == "answers" || key == "model" || key == "first" || key == "second";
}

std::vector<std::string> differing_settings(const BenchResult& first, const BenchResult& second) {
  std::set<std::string> keys;
  for (const BenchResult* result : {&first, &second})
    for (const auto& [key, value] : result->pinned) keys.insert(key);
  std::vector<std::string> out;
  for (const auto& key : keys) {
    if (names_subject(key)) continue;
    const auto a = first.pinned.find(key), b = second.pinned.find(key);
    if (a == first.pinned.end() || b == second.pinned.end() || a->second != b->second) out.push_back(key);
  }
  return out;
}

}  // namespace tephra::eval
