#include "eval/score/report_view.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <tuple>

#include "base/random.h"
#include "eval/score/statistics.h"

namespace tephra::eval {
namespace {

constexpr uint64_t kBootstrapSeed = 17;
constexpr size_t kAnswerSizeMax = 600;  // bytes of an answer shown in an example

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

// A share as percent, with its interval.
ReportCell percent_cell(double share, const std::optional<Interval>& interval, int digits = 1) {
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

ReportCell proportion_cell(const BenchResult& result, const std::string& name, const std::string& correct,
                           const std::string& total) {
  const auto value = metric(result, name);
  if (!value) return absent_cell();
  const auto right = count(result, correct), all = count(result, total);
  return percent_cell(*value, right && all && *all > 0 ? std::optional(wilson_interval(*right, *all)) : std::nullopt);
}

ReportCell mean_cell(const BenchResult& result, const std::string& name) {
  const auto value = metric(result, name);
  if (!value) return absent_cell();
  std::vector<double> scores;
  for (const auto& row : result.cases)
    if (auto found = row.scores.find(name); found != row.scores.end()) scores.push_back(found->second);
  return percent_cell(*value,
                      scores.size() > 1 ? std::optional(bootstrap_interval(scores, kBootstrapSeed)) : std::nullopt);
}

// A row of the headline table: what is measured, and the counts that its interval comes from.
struct Measure {
  const char* metric;
  std::string label;
  const char* correct;  // nullptr: a mean of per-question scores
  const char* total;
};

std::vector<Measure> measures_of(const std::string& kind) {
  const std::string name = kind == "instruct" ? "exact match" : "accuracy";
  return {{"accuracy", name, "correct", "total"},
          {"token_f1", "token F1", nullptr, "total"},
          {"rouge_l", "ROUGE-L", nullptr, "total"},
          {"accuracy_shown", "picture questions, own pictures", "correct_shown", "count_swapped"},
          {"accuracy_swapped", "picture questions, swapped pictures", "correct_swapped", "count_swapped"}};
}

// The stages' results of one bench, in the stages' order; nullptr where a stage has none.
struct BenchRow {
  std::string name;
  std::string kind;
  std::vector<const BenchResult*> by_stage;

  const BenchResult* last() const {
    for (auto it = by_stage.rbegin(); it != by_stage.rend(); ++it)
      if (*it != nullptr) return *it;
    return nullptr;
  }
};

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

ReportCell measure_cell(const BenchResult& result, const Measure& m) {
  return m.correct != nullptr ? proportion_cell(result, m.metric, m.correct, m.total) : mean_cell(result, m.metric);
}

ReportTable headline_table(const ReportInput& input, const std::vector<BenchRow>& benches) {
  ReportTable table{
      "headline",
      "Results",
      "Percent, with 95 % confidence intervals. Guessing: what an answerer that knows nothing expects. Majority: "
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
      const bool first = std::string(m.metric) == "accuracy";
      const bool mean = m.correct == nullptr;
      const auto n = count(last, m.total);
      std::vector<ReportCell> row = {text_cell(bench.name), text_cell(m.label),
                                     n ? number_cell(static_cast<double>(*n), grouped(*n)) : absent_cell()};
      for (const BenchResult* result : bench.by_stage)
        row.push_back(result == nullptr ? absent_cell() : measure_cell(*result, m));
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

// How answerers that never see a picture do by category, where the cases know it.
void add_baseline_rows(const BenchResult& result, ReportTable* table) {
  std::map<std::string, std::map<std::string, Column>> baselines;  // by name, then by category
  for (const auto& row : result.cases) {
    for (const auto& [name, correct] : row.baselines) {
      Column& column = baselines[name][row.category];
      ++column.count;
      column.correct += correct;
    }
  }
  for (auto& [name, by_category] : baselines) {
    std::vector<ReportCell> row = {text_cell(name)};
    for (const auto& column : result.columns) {
      const Column& mine = by_category[column.name];
      row.push_back(mine.count == 0 ? absent_cell() : percent_cell(mine.accuracy(), std::nullopt, 2));
    }
    table->rows.push_back(std::move(row));
  }
}

ReportTable column_table(const ReportInput& input, const BenchRow& bench) {
  const BenchResult& last = *bench.last();
  ReportTable table{"bench-" + bench.name, bench.name, "", {"Stage"}, {}, 1};
  table.note = bench.kind == "scienceqa" ? "Percent right: natural, social and language science; with text context, "
                                           "with a picture, with neither; grades 1–6 and 7–12; all."
                                         : "Percent right by category.";
  for (const auto& column : last.columns) table.header.push_back(column.name);
  for (size_t i = 0; i < input.stages.size(); ++i) {
    const BenchResult* result = bench.by_stage[i];
    if (result == nullptr) continue;
    std::vector<ReportCell> row = {text_cell(input.stages[i].name)};
    for (const auto& column : last.columns) {
      const auto found = std::find_if(result->columns.begin(), result->columns.end(),
                                      [&](const Column& c) { return c.name == column.name; });
      row.push_back(found == result->columns.end() || found->count == 0
                        ? absent_cell()
                        : percent_cell(found->accuracy(), std::nullopt, 2));
    }
    table.rows.push_back(std::move(row));
  }
  add_baseline_rows(last, &table);
  std::vector<ReportCell> counts = {text_cell("questions")};
  for (const auto& column : last.columns)
    counts.push_back(number_cell(static_cast<double>(column.count), grouped(column.count)));
  table.rows.push_back(std::move(counts));
  return table;
}

ReportTable pinned_table(const ReportInput& input, const BenchRow& bench, std::vector<std::string>* warnings) {
  ReportTable table{"pinned-" + bench.name, "What " + bench.name + " was run with", "", {"Setting"}, {}, 99};
  std::set<std::string> keys;
  for (size_t i = 0; i < input.stages.size(); ++i) {
    if (bench.by_stage[i] == nullptr) continue;
    table.header.push_back(input.stages[i].name);
    for (const auto& [key, value] : bench.by_stage[i]->pinned) keys.insert(key);
  }
  for (const auto& key : keys) {
    std::vector<ReportCell> row = {text_cell(key)};
    std::set<std::string> values;
    for (const BenchResult* result : bench.by_stage) {
      if (result == nullptr) continue;
      const auto found = result->pinned.find(key);
      row.push_back(text_cell(found == result->pinned.end() ? "–" : found->second));
      values.insert(row.back().text);
    }
    if (values.size() > 1)
      warnings->push_back("Bench " + bench.name + " was run with different values of " + key +
                          "; its stages should not be compared.");
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string p_text(double p) { return p < 0.001 ? "p < 0.001" : "p = " + fixed(p, 3); }

// Outcomes of the questions that both results asked, in the first one's order.
std::pair<std::vector<bool>, std::vector<bool>> paired(const BenchResult& first, const BenchResult& second) {
  std::map<std::string, bool> outcome;
  for (const auto& row : second.cases) outcome[row.id] = row.correct;
  std::pair<std::vector<bool>, std::vector<bool>> both;
  for (const auto& row : first.cases) {
    const auto found = outcome.find(row.id);
    if (found == outcome.end()) continue;
    both.first.push_back(row.correct);
    both.second.push_back(found->second);
  }
  return both;
}

std::vector<std::string> findings_of(const ReportInput& input, const BenchRow& bench) {
  std::vector<std::string> findings;
  const BenchResult* previous = nullptr;
  std::string previous_name;
  for (size_t i = 0; i < input.stages.size(); ++i) {
    const BenchResult* result = bench.by_stage[i];
    if (result == nullptr) continue;
    const std::string& name = input.stages[i].name;
    if (previous != nullptr) {
      const auto [before, after] = paired(*previous, *result);
      const auto gained = std::count(after.begin(), after.end(), true) - std::count(before.begin(), before.end(), true);
      if (!before.empty())
        findings.push_back(
            name + " against " + previous_name + ": " + (gained >= 0 ? "+" : "−") +
            fixed(100.0 * std::abs(static_cast<double>(gained)) / static_cast<double>(before.size()), 1) +
            " points on " + grouped(static_cast<int64_t>(before.size())) + " questions (" +
            p_text(mcnemar_p_value(before, after)) + ", McNemar).");
    }
    if (auto p = metric(*result, "swap_p_value"))
      findings.push_back(name + " with swapped pictures: " + fixed(100 * *metric(*result, "accuracy_shown"), 1) +
                         " to " + fixed(100 * *metric(*result, "accuracy_swapped"), 1) + " % (" + p_text(*p) +
                         ", McNemar).");
    if (auto absent = count(*result, "images_absent"))
      findings.push_back(name + ": " + grouped(*absent) +
                         " questions were asked without their picture, whose file is absent.");
    if (auto unparsed = count(*result, "unparsed"); unparsed && *unparsed > 0)
      findings.push_back(name + ": " + grouped(*unparsed) + " answers could not be read and count as wrong.");
    previous = result;
    previous_name = name;
  }
  return findings;
}

std::string cut(const std::string& text) {
  if (text.size() <= kAnswerSizeMax) return text;
  size_t end = kAnswerSizeMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a UTF-8 character
  return text.substr(0, end) + " …";
}

// Indices into the last result's cases: picture questions that training put right, that it failed, and others, in turn;
// which ones is decided by a hash of the id, so the choice neither flatters nor moves between runs.
std::vector<size_t> choose_examples(const BenchRow& bench, int limit) {
  const BenchResult& last = *bench.last();
  const BenchResult* first =
      *std::find_if(bench.by_stage.begin(), bench.by_stage.end(), [](const BenchResult* r) { return r != nullptr; });
  std::map<std::string, bool> before;
  for (const auto& row : first->cases) before[row.id] = row.correct;
  std::vector<size_t> buckets[3];
  std::vector<size_t> order(last.cases.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto rank = [&](size_t i) {
    return std::tuple(last.cases[i].image_path.empty(), random_bits({key_of(last.cases[i].id)}), i);
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rank(a) < rank(b); });
  for (size_t i : order) {
    const auto& row = last.cases[i];
    const auto found = before.find(row.id);
    buckets[!row.correct ? 1 : found != before.end() && !found->second ? 0 : 2].push_back(i);
  }
  std::vector<size_t> chosen;
  for (size_t round = 0; chosen.size() < static_cast<size_t>(std::max(0, limit)) && round < order.size(); ++round)
    for (const auto& bucket : buckets)
      if (round < bucket.size() && chosen.size() < static_cast<size_t>(limit)) chosen.push_back(bucket[round]);
  return chosen;
}

ReportExample make_example(const ReportInput& input, const BenchRow& bench, const CaseRow& row) {
  ReportExample example{bench.name, row.id, row.category, row.question, row.choices, row.reference, "", "", {}};
  if (!row.image_path.empty()) {
    auto picture = picture_data_uri(row.image_path, input.picture_bytes_max);
    if (picture.ok())
      example.picture = *picture;
    else
      example.picture_note = picture.status().message();
  }
  for (size_t i = 0; i < input.stages.size(); ++i) {
    if (bench.by_stage[i] == nullptr) continue;
    for (const auto& other : bench.by_stage[i]->cases)
      if (other.id == row.id)
        example.answers.push_back({input.stages[i].name, cut(other.answer), other.parsed, other.correct});
  }
  return example;
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
  for (const auto& bench : benches) {
    ReportBench out{bench.name,
                    bench.kind,
                    column_table(input, bench),
                    pinned_table(input, bench, &view.warnings),
                    findings_of(input, bench),
                    {}};
    for (size_t i : choose_examples(bench, input.examples_per_bench))
      out.examples.push_back(make_example(input, bench, bench.last()->cases[i]));
    view.benches.push_back(std::move(out));
  }
  return view;
}

}  // namespace tephra::eval
