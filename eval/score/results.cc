#include "eval/score/results.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/score/statistics.h"

namespace tephra::eval {
namespace {

using Json = nlohmann::ordered_json;

void summarize_guessing(BenchResult* result) {
  std::vector<std::string> references;
  std::vector<int> choices;
  for (const auto& row : result->cases) {
    references.push_back(row.reference);
    if (!row.choices.empty()) choices.push_back(static_cast<int>(row.choices.size()));
  }
  const MajorityBaseline majority = majority_baseline(references);
  result->counts["majority_correct"] = majority.correct;
  result->metrics["majority"] = static_cast<double>(majority.correct) / static_cast<double>(majority.count);
  std::map<std::string, int64_t> baselines;
  for (const auto& row : result->cases)
    for (const auto& [name, correct] : row.baselines) baselines[name] += correct;
  for (const auto& [name, correct] : baselines) {
    result->counts[name + "_correct"] = correct;
    result->metrics[name] = static_cast<double>(correct) / static_cast<double>(result->cases.size());
  }
  const bool all_choices = choices.size() == result->cases.size();
  result->metrics["guess_level"] = all_choices ? chance_level(choices) : result->metrics["majority"];
}

void summarize_swaps(BenchResult* result) {
  std::vector<bool> shown, swapped;
  int64_t correct = 0;
  for (const auto& row : result->cases) {
    if (!row.correct_swapped) continue;
    shown.push_back(row.correct);
    swapped.push_back(*row.correct_swapped);
    correct += *row.correct_swapped;
  }
  if (swapped.empty()) return;
  const auto count = static_cast<double>(swapped.size());
  result->counts["count_swapped"] = static_cast<int64_t>(swapped.size());
  result->counts["correct_swapped"] = correct;
  result->counts["correct_shown"] =
      std::count(shown.begin(), shown.end(), true);  // the same questions, with their own pictures
  result->metrics["accuracy_swapped"] = static_cast<double>(correct) / count;
  result->metrics["accuracy_shown"] = static_cast<double>(result->counts["correct_shown"]) / count;
  result->metrics["swap_p_value"] = mcnemar_p_value(shown, swapped);
}

void summarize_categories(BenchResult* result) {
  std::map<std::string, Column> categories;
  for (const auto& row : result->cases) {
    if (row.category.empty()) continue;
    Column& column = categories[row.category];
    column.name = row.category;
    ++column.count;
    column.correct += row.correct;
    if (const auto score = row.scores.find("accuracy"); score != row.scores.end())
      column.mean = column.mean.value_or(0) + score->second;
  }
  for (auto& [name, column] : categories)
    if (column.mean) column.mean = *column.mean / static_cast<double>(column.count);
  for (auto& [name, column] : categories) result->columns.push_back(std::move(column));
}

Json to_json(const CaseRow& row) {
  Json json = {{"id", row.id},
               {"question", row.question},
               {"choices", row.choices},
               {"reference", row.reference},
               {"answer", row.answer},
               {"parsed", row.parsed},
               {"correct", row.correct},
               {"image", row.image_path},
               {"category", row.category}};
  if (!row.group.empty()) json["group"] = row.group;
  if (!row.scores.empty()) json["scores"] = row.scores;
  if (row.correct_swapped) json["correct_swapped"] = *row.correct_swapped;
  if (!row.baselines.empty()) json["baselines"] = row.baselines;
  return json;
}

CaseRow case_from(const Json& json) {
  CaseRow row;
  json.at("id").get_to(row.id);
  json.at("question").get_to(row.question);
  json.at("choices").get_to(row.choices);
  json.at("reference").get_to(row.reference);
  json.at("answer").get_to(row.answer);
  json.at("parsed").get_to(row.parsed);
  json.at("correct").get_to(row.correct);
  json.at("image").get_to(row.image_path);
  json.at("category").get_to(row.category);
  if (json.contains("group")) json["group"].get_to(row.group);
  if (json.contains("scores")) json["scores"].get_to(row.scores);
  if (json.contains("correct_swapped")) row.correct_swapped = json["correct_swapped"].get<bool>();
  if (json.contains("baselines")) json["baselines"].get_to(row.baselines);
  return row;
}

Json to_json(const std::vector<Column>& columns) {
  Json out = Json::array();
  for (const auto& column : columns) {
    out.push_back({{"name", column.name}, {"correct", column.correct}, {"count", column.count}});
    if (column.mean) out.back()["mean"] = *column.mean;
  }
  return out;
}

std::vector<Column> columns_from(const Json& json) {
  std::vector<Column> out;
  for (const auto& column : json) {
    out.push_back({column.at("name"), column.at("correct"), column.at("count"), {}});
    if (column.contains("mean")) out.back().mean = column["mean"].get<double>();
  }
  return out;
}

}  // namespace

bool has_right_answers(const std::string& kind) {
  return kind != "captions" && kind != "loss" && kind != "llava_bench";
}

void summarize(BenchResult* result) {
  int64_t correct = 0, unparsed = 0, images = 0;
  std::map<std::string, double> sums;
  for (const auto& row : result->cases) {
    correct += row.correct;
    unparsed += row.parsed.empty();
    images += !row.image_path.empty();
    for (const auto& [name, score] : row.scores) sums[name] += score;
  }
  const auto total = static_cast<int64_t>(result->cases.size());
  result->counts["total"] = total;
  result->counts["correct"] = correct;
  result->counts["unparsed"] = unparsed;
  result->counts["images"] = images;
  if (total == 0) return;
  const bool right_or_wrong = has_right_answers(result->kind);
  if (right_or_wrong) result->metrics["accuracy"] = static_cast<double>(correct) / static_cast<double>(total);
  for (const auto& [name, sum] : sums) result->metrics[name] = sum / static_cast<double>(total);
  if (!right_or_wrong) {
    result->counts.erase("correct");
    return;
  }
  summarize_guessing(result);
  summarize_swaps(result);
  if (result->columns.empty()) summarize_categories(result);
}

std::string to_json(const BenchResult& result) {
  Json json = {{"bench", result.bench},
               {"kind", result.kind},
               {"pinned", result.pinned},
               {"metrics", result.metrics},
               {"counts", result.counts}};
  if (!result.published.empty()) json["published"] = result.published;
  if (!result.incomplete.empty()) json["incomplete"] = result.incomplete;
  json["columns"] = to_json(result.columns);
  for (const auto& [title, columns] : result.groups) json["groups"][title] = to_json(columns);
  json["cases"] = Json::array();
  for (const auto& row : result.cases) json["cases"].push_back(to_json(row));
  // Answers are a model's bytes and need not be valid UTF-8; what is not becomes U+FFFD.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<BenchResult> from_json(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    BenchResult result;
    json.at("bench").get_to(result.bench);
    json.at("kind").get_to(result.kind);
    json.at("pinned").get_to(result.pinned);
    json.at("metrics").get_to(result.metrics);
    json.at("counts").get_to(result.counts);
    if (json.contains("published")) json["published"].get_to(result.published);
    if (json.contains("incomplete")) json["incomplete"].get_to(result.incomplete);
    result.columns = columns_from(json.at("columns"));
    if (json.contains("groups"))
      for (const auto& [title, columns] : json["groups"].items()) result.groups[title] = columns_from(columns);
    for (const auto& row : json.at("cases")) result.cases.push_back(case_from(row));
    return result;
  } catch (const nlohmann::json::exception& e) {
    return Status(Code::kCorruption, std::string("bench result: ") + e.what());
  }
}

}  // namespace tephra::eval
