// A bench by its columns and finer groups, and what it was run with.
#include <algorithm>
#include <map>
#include <set>

#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

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

const char* column_note(const std::string& kind) {
  if (kind == "scienceqa")
    return "Percent right: natural, social and language science; with text context, with a picture, with neither; "
           "grades 1–6 and 7–12; all.";
  if (kind == "llava_bench") return "Percent of the reference's score by category.";
  if (kind == "mme") return "Percent of a task's 200 points: right by question and by picture.";
  return "Percent right by category.";
}

}  // namespace

ReportTable column_table(const ReportInput& input, const BenchRow& bench) {
  const BenchResult& last = *bench.last();
  ReportTable table{"bench-" + bench.name, bench.name, "", {"Stage"}, {}, 1};
  table.note = column_note(bench.kind);
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
  std::vector<ReportCell> counts = {text_cell(bench.kind == "llava_bench" ? "judgments" : "questions")};
  for (const auto& column : last.columns)
    counts.push_back(number_cell(static_cast<double>(column.count), grouped(column.count)));
  table.rows.push_back(std::move(counts));
  return table;
}

std::vector<ReportTable> group_tables(const ReportInput& input, const BenchRow& bench) {
  std::vector<ReportTable> tables;
  const BenchResult& last = *bench.last();
  for (const auto& [title, columns] : last.groups) {
    ReportTable table{"bench-" + bench.name + "-" + title, "By " + title, "", {title, "questions"}, {}, 1};
    for (size_t i = 0; i < input.stages.size(); ++i)
      if (bench.by_stage[i] != nullptr) table.header.push_back(input.stages[i].name);
    for (const Column& column : columns) {
      std::vector<ReportCell> row = {text_cell(column.name),
                                     number_cell(static_cast<double>(column.count), grouped(column.count))};
      for (const BenchResult* result : bench.by_stage) {
        if (result == nullptr) continue;
        const auto group = result->groups.find(title);
        const Column* mine = nullptr;
        if (group != result->groups.end())
          for (const Column& c : group->second)
            if (c.name == column.name) mine = &c;
        row.push_back(mine == nullptr || mine->count == 0
                          ? absent_cell()
                          : percent_cell(mine->accuracy(), wilson_interval(mine->correct, mine->count), 1));
      }
      table.rows.push_back(std::move(row));
    }
    tables.push_back(std::move(table));
  }
  return tables;
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
    if (values.size() > 1 && !names_subject(key))
      warnings->push_back("Bench " + bench.name + " was run with different values of " + key +
                          "; its stages should not be compared.");
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace tephra::eval
