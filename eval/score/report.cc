#include "eval/score/report.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "eval/score/report_view.h"

namespace tephra::eval {
namespace {

using Json = nlohmann::ordered_json;

// Markdown's own signs escaped, on one line, so that a question cannot break a table or become markup.
std::string markdown_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '\n' || c == '\r' || c == '\t')
      out += ' ';
    else if (std::string_view("\\`*_[]|#>~").find(c) != std::string_view::npos)
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
  }
  return out;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const auto& cell : cells) out += " " + cell + " |";
  return out + "\n";
}

std::string table_markdown(const ReportTable& table) {
  std::vector<std::string> header, rule;
  for (size_t i = 0; i < table.header.size(); ++i) {
    header.push_back(markdown_escape(table.header[i]));
    rule.push_back(i >= table.first_numeric ? "---:" : "---");
  }
  std::string out = markdown_row(header) + markdown_row(rule);
  for (const auto& row : table.rows) {
    std::vector<std::string> cells;
    for (const auto& cell : row)
      cells.push_back(markdown_escape(cell.text) +
                      (cell.range.empty() ? "" : " (" + markdown_escape(cell.range) + ")") +
                      (cell.mark.empty() ? "" : " " + markdown_escape(cell.mark)));
    out += markdown_row(cells);
  }
  return out + "\n";
}

std::string pairs_markdown(const char* title, const KeyValues& pairs) {
  if (pairs.empty()) return "";
  std::string out = std::string("## ") + title + "\n\n| | |\n|---|---|\n";
  for (const auto& [key, value] : pairs) out += markdown_row({markdown_escape(key), markdown_escape(value)});
  return out + "\n";
}

std::string example_markdown(const ReportExample& example) {
  std::string out = "- **" + markdown_escape(example.question) + "** (" + markdown_escape(example.id) + ")\n";
  if (!example.reason.empty()) out += "  - " + markdown_escape(example.reason) + "\n";
  std::string choices;
  for (size_t i = 0; i < example.choices.size(); ++i)
    choices += std::string(choices.empty() ? "" : " ") + "(" + static_cast<char>('A' + i) + ") " +
               markdown_escape(example.choices[i]);
  if (!choices.empty()) out += "  - choices: " + choices + "\n";
  out += "  - reference: " + markdown_escape(example.reference) + "\n";
  for (const auto& answer : example.answers)
    out +=
        "  - " + markdown_escape(answer.stage) + " (" + answer.verdict + "): " + markdown_escape(answer.answer) + "\n";
  return out;
}

std::string render_markdown(const ReportInput& input, const ReportView& view) {
  std::string out = "# " + markdown_escape(input.title) + "\n\nJob " + markdown_escape(input.job) +
                    (input.created.empty() ? "" : ", " + markdown_escape(input.created)) + "\n\n";
  if (!view.summary.empty()) out += markdown_escape(view.summary) + "\n\n";
  for (const auto& warning : view.warnings) out += "**Warning:** " + markdown_escape(warning) + "\n\n";
  if (!view.headline.rows.empty())
    out += "## " + view.headline.title + "\n\n" + view.headline.note + "\n\n" + table_markdown(view.headline);
  for (const auto& bench : view.benches) {
    out += "## " + markdown_escape(bench.name) + "\n\n";
    if (bench.columns.header.size() > 1) out += bench.columns.note + "\n\n" + table_markdown(bench.columns);
    if (!bench.changes.rows.empty())
      out += "### " + bench.changes.title + "\n\n" + bench.changes.note + "\n\n" + table_markdown(bench.changes);
    for (const auto& finding : bench.findings) out += "- " + markdown_escape(finding) + "\n";
    for (const auto& group : bench.groups)
      out += "\n### " + markdown_escape(group.title) + "\n\n" + table_markdown(group);
    if (!bench.failures.empty()) out += "\n### The most telling failures\n\n";
    for (const auto& failure : bench.failures) out += example_markdown(failure);
    if (!bench.examples.empty()) out += "\n### Examples\n\n";
    for (const auto& example : bench.examples) out += example_markdown(example);
    out += "\n";
  }
  for (const auto& during : view.during)
    out += "## " + markdown_escape(during.table.title) + "\n\n" + table_markdown(during.table);
  out += "## " + view.stages.title + "\n\n" + table_markdown(view.stages);
  for (const auto& stage : input.stages)
    for (const auto& note : stage.notes) out += "- " + markdown_escape(stage.name + ": " + note) + "\n";
  for (const auto& bench : view.benches)
    out += "\n## " + markdown_escape(bench.pinned.title) + "\n\n" + table_markdown(bench.pinned);
  out += pairs_markdown("Lineage", input.lineage) + pairs_markdown("Hand-over", input.handover) +
         pairs_markdown("Environment", input.environment);
  if (input.recipe.empty()) return out;
  // The fence is longer than any run of backticks in the text.
  std::string fence = "```";
  while (input.recipe.find(fence) != std::string::npos) fence += "`";
  return out + "## Recipe\n\n" + fence + "\n" + input.recipe + (input.recipe.ends_with('\n') ? "" : "\n") + fence +
         "\n";
}

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json table_json(const ReportTable& table) {
  Json out = {{"id", table.id},
              {"title", table.title},
              {"note", table.note},
              {"header", table.header},
              {"rows", Json::array()}};
  for (const auto& row : table.rows) {
    Json cells = Json::array();
    for (const auto& cell : row) {
      Json item = {{"text", cell.text}};
      if (std::isfinite(cell.value)) item["value"] = cell.value;
      if (!cell.range.empty()) item["range"] = cell.range;
      if (!cell.mark.empty()) item["mark"] = cell.mark;
      if (std::isfinite(cell.low)) item["low"] = cell.low, item["high"] = cell.high;
      cells.push_back(std::move(item));
    }
    out["rows"].push_back(std::move(cells));
  }
  return out;
}

Json stage_json(const StageReport& stage) {
  Json out = {{"name", stage.name},
              {"kind", stage.kind},
              {"checkpoint", stage.checkpoint},
              {"duration_s", number_or_null(stage.duration_s)},
              {"trained_parameters", stage.trained_parameters},
              {"total_parameters", stage.total_parameters},
              {"world_size", stage.world_size},
              {"attempts", stage.attempts},
              {"notes", stage.notes},
              {"curve", Json::array()},
              {"benches", Json::array()},
              {"during", Json::array()}};
  for (const auto& point : stage.curve)
    out["curve"].push_back({{"step", point.step},
                            {"loss", number_or_null(point.loss)},
                            {"lr", point.lr},
                            {"grad_norm", number_or_null(point.grad_norm)},
                            {"tokens_per_s", number_or_null(point.tokens_per_s)}});
  for (const auto& bench : stage.benches) out["benches"].push_back(Json::parse(to_json(bench)));
  for (const auto& during : stage.during) {
    BenchResult numbers = during.result;
    numbers.cases.clear();
    out["during"].push_back({{"step", during.step}, {"result", Json::parse(to_json(numbers))}});
  }
  return out;
}

Json pairs_json(const KeyValues& pairs) {
  Json out = Json::object();
  for (const auto& [key, value] : pairs) out[key] = value;
  return out;
}

std::string render_json(const ReportInput& input, const ReportView& view) {
  Json out = {{"title", input.title},     {"job", input.job},
              {"created", input.created}, {"ended_early", input.ended_early},
              {"summary", view.summary},  {"warnings", view.warnings}};
  out["tables"] = {table_json(view.headline), table_json(view.stages)};
  out["findings"] = Json::object();
  for (const auto& bench : view.benches) {
    out["tables"].push_back(table_json(bench.columns));
    if (!bench.changes.rows.empty()) out["tables"].push_back(table_json(bench.changes));
    for (const auto& group : bench.groups) out["tables"].push_back(table_json(group));
    out["tables"].push_back(table_json(bench.pinned));
    out["findings"][bench.name] = bench.findings;
  }
  for (const auto& during : view.during) out["tables"].push_back(table_json(during.table));
  out["baselines"] = Json::object();
  for (const auto& baseline : input.baselines) out["baselines"][baseline.name] = baseline.metrics;
  out["stages"] = Json::array();
  for (const auto& stage : input.stages) out["stages"].push_back(stage_json(stage));
  out["lineage"] = pairs_json(input.lineage);
  out["handover"] = pairs_json(input.handover);
  out["environment"] = pairs_json(input.environment);
  out["recipe"] = input.recipe;
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string csv_number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.9g", value);
  return buffer;
}

std::string render_csv(const ReportInput& input) {
  std::string out = "stage,step,loss,lr,grad_norm,tokens_per_s\n";
  for (const auto& stage : input.stages)
    for (const auto& point : stage.curve)
      out += csv_text(stage.name) + "," + std::to_string(point.step) + "," + csv_number(point.loss) + "," +
             csv_number(point.lr) + "," + csv_number(point.grad_norm) + "," + csv_number(point.tokens_per_s) + "\n";
  return out;
}

std::string render_bench_curves_csv(const ReportInput& input) {
  std::string out = "stage,step,bench,kind,metric,value\n";
  for (const auto& stage : input.stages)
    for (const auto& [step, result] : stage.during)
      for (const auto& [name, value] : result.metrics)
        out += csv_text(stage.name) + "," + std::to_string(step) + "," + csv_text(result.bench) + "," + result.kind +
               "," + csv_text(name) + "," + csv_number(value) + "\n";
  return out;
}

// Every number of every bench, one a line.
std::string render_results_csv(const ReportInput& input) {
  std::string out = "stage,bench,kind,metric,value,questions\n";
  for (const auto& stage : input.stages)
    for (const auto& bench : stage.benches) {
      const auto line = [&](const std::string& name, double value, int64_t questions) {
        out += csv_text(stage.name) + "," + csv_text(bench.bench) + "," + bench.kind + "," + csv_text(name) + "," +
               csv_number(value) + "," + std::to_string(questions) + "\n";
      };
      for (const auto& [name, value] : bench.metrics) line(name, value, static_cast<int64_t>(bench.cases.size()));
      for (const auto& column : bench.columns) line(column.name, column.accuracy(), column.count);
      for (const auto& [title, columns] : bench.groups)
        for (const auto& column : columns) line(title + " " + column.name, column.accuracy(), column.count);
    }
  return out;
}

}  // namespace

std::vector<Baseline> baselines_of(const std::vector<std::string>& names, const std::vector<StageReport>& stages) {
  std::vector<Baseline> baselines;
  for (const std::string& name : names) {
    Baseline baseline{name, {}};
    for (const StageReport& stage : stages)
      for (const BenchResult& bench : stage.benches)
        if (const auto found = bench.metrics.find(name); found != bench.metrics.end())
          baseline.metrics[bench.bench] = found->second;
    if (!baseline.metrics.empty()) baselines.push_back(std::move(baseline));
  }
  return baselines;
}

std::map<std::string, std::string> render_report(const ReportInput& given) {
  ReportInput input = given;
  for (auto& stage : input.stages)  // results that came without their totals get them here
    for (auto& bench : stage.benches)
      if (bench.metrics.empty()) summarize(&bench);
  const ReportView view = make_report_view(input);
  return {{"report.html", render_html(input, view)},
          {"report.md", render_markdown(input, view)},
          {"report.json", render_json(input, view)},
          {"curves.csv", render_csv(input)},
          {"bench_curves.csv", render_bench_curves_csv(input)},
          {"results.csv", render_results_csv(input)}};
}

Status write_report(const ReportInput& input, const std::string& out_dir) {
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(out_dir));
  for (const auto& [name, text] : render_report(input))
    TEPHRA_RETURN_IF_ERROR(write_file_atomic(Env::posix(), out_dir + "/" + name, text));
  return ok_status();
}

}  // namespace tephra::eval
