#include "eval/score/report_compare.h"

#include <nlohmann/json.hpp>

namespace tephra::eval {
namespace {

using Json = nlohmann::ordered_json;

double number_or_nan(const Json& value) {
  return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

Result<StageReport> stage_from(const Json& json) {
  StageReport stage;
  json.at("name").get_to(stage.name);
  json.at("kind").get_to(stage.kind);
  json.at("checkpoint").get_to(stage.checkpoint);
  stage.duration_s = number_or_nan(json.at("duration_s"));
  json.at("trained_parameters").get_to(stage.trained_parameters);
  json.at("total_parameters").get_to(stage.total_parameters);
  json.at("world_size").get_to(stage.world_size);
  json.at("attempts").get_to(stage.attempts);
  json.at("notes").get_to(stage.notes);
  for (const auto& point : json.at("curve"))
    stage.curve.push_back({point.at("step").get<int64_t>(), number_or_nan(point.at("loss")),
                           point.at("lr").get<double>(), number_or_nan(point.at("grad_norm")),
                           number_or_nan(point.at("tokens_per_s"))});
  for (const auto& bench : json.at("benches")) {
    TEPHRA_ASSIGN_OR_RETURN(BenchResult result, from_json(bench.dump()));
    stage.benches.push_back(std::move(result));
  }
  if (json.contains("during"))  // reports written before benches were run during stages have none
    for (const auto& during : json.at("during")) {
      TEPHRA_ASSIGN_OR_RETURN(BenchResult result, from_json(during.at("result").dump()));
      stage.during.push_back({during.at("step").get<int64_t>(), std::move(result)});
    }
  return stage;
}

}  // namespace

Result<ReportInput> read_report(const std::string& json_text, const std::string& where) {
  try {
    const Json json = Json::parse(json_text);
    ReportInput out;
    json.at("title").get_to(out.title);
    json.at("job").get_to(out.job);
    json.at("created").get_to(out.created);
    for (const auto& stage : json.at("stages")) {
      auto read = stage_from(stage);
      if (!read.ok()) return read.status().with_context(where);
      out.stages.push_back(std::move(*read));
    }
    for (const auto& [key, value] : json.at("lineage").items()) out.lineage.emplace_back(key, value);
    return out;
  } catch (const nlohmann::json::exception& e) {
    return Status(Code::kCorruption, where + ": is no report.json of tephra: " + e.what());
  }
}

ReportInput compare_reports(const std::vector<ReportInput>& reports, bool last_stage_only) {
  ReportInput out;
  for (const ReportInput& report : reports) {
    out.title += (out.title.empty() ? "" : " and ") + report.job;
    std::vector<StageReport> stages;
    for (const StageReport& stage : report.stages)
      if (!stage.benches.empty()) stages.push_back(stage);
    if (last_stage_only && stages.size() > 1) stages.erase(stages.begin(), stages.end() - 1);
    for (StageReport& stage : stages) {
      stage.name = report.job + "/" + stage.name;
      out.stages.push_back(std::move(stage));
    }
    for (const auto& [key, value] : report.lineage) out.lineage.emplace_back(report.job + ": " + key, value);
  }
  out.job = "compared: " + out.title;
  out.title = "Comparison of " + out.title;
  out.baselines = baselines_of({"majority", "blind"}, out.stages);
  return out;
}

}  // namespace tephra::eval
