#include "cli/eval_bench.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "cli/app.h"
#include "cli/text.h"
#include "eval/score/report.h"

namespace tephra::cli {
namespace {

nlohmann::ordered_json summary_of(const eval::BenchResult& result, int64_t unknown) {
  nlohmann::ordered_json columns = nlohmann::ordered_json::object();
  for (const eval::Column& c : result.columns) columns[c.name] = {{"value", c.accuracy()}, {"count", c.count}};
  nlohmann::ordered_json out = {{"bench", result.bench},   {"metrics", result.metrics},
                                {"counts", result.counts}, {"columns", columns},
                                {"pinned", result.pinned}, {"answers_to_unknown_questions", unknown}};
  if (!result.incomplete.empty()) out["incomplete"] = result.incomplete;
  return out;
}

}  // namespace

Status write_result(const eval::BenchResult& result, const std::string& folder) {
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(folder));
  TEPHRA_RETURN_IF_ERROR(
      write_file_atomic(Env::posix(), folder + "/" + result.bench + ".result.json", eval::to_json(result)));
  eval::ReportInput input;
  input.title = result.bench;
  input.job = "tephra eval " + result.bench;
  eval::StageReport stage;
  stage.name = "answers";
  stage.benches = {result};
  input.stages = {stage};
  return eval::write_report(input, folder);
}

int finish_eval(const eval::BenchResult& result, int64_t unknown, const EvalOutput& output) {
  if (!output.out.empty())
    if (const Status written = write_result(result, output.out); !written.ok()) return fail(written);
  if (output.json) {
    std::printf("%s\n", summary_of(result, unknown).dump(2).c_str());
  } else {
    std::vector<std::vector<std::string>> rows;
    for (const auto& [name, value] : result.metrics) rows.push_back({name, fixed(value, 4)});
    if (!rows.empty()) std::printf("%s", table({"metric", "value"}, rows).c_str());
    rows.clear();
    for (const eval::Column& c : result.columns)
      rows.push_back({c.name, fixed(100 * c.accuracy(), 2), std::to_string(c.count)});
    if (!rows.empty()) std::printf("\n%s", table({"part", "%", "questions"}, rows).c_str());
    const auto counted = [&](const char* name) {
      const auto found = result.counts.find(name);
      return found == result.counts.end() ? 0LL : static_cast<long long>(found->second);
    };
    std::printf("\n%lld of %lld answers could not be %s\n", counted("unparsed"), counted("total"),
                eval::has_right_answers(result.kind) ? "read" : "scored");
    if (const long long unread = counted("judgments_unreadable"); unread > 0)
      std::printf("%lld of the judge's replies could not be read\n", unread);
    if (const long long neither = counted("neither"); neither > 0)
      std::printf("%lld answers say neither yes nor no; POPE's rule takes them for yes\n", neither);
    if (unknown > 0)
      std::printf("%lld answers are to questions that the bench does not have\n", static_cast<long long>(unknown));
    if (!output.out.empty()) std::printf("report: %s/report.html\n", output.out.c_str());
  }
  if (result.incomplete.empty()) return kOk;
  std::fprintf(stderr, "tephra: %s is incomplete: %s; the same command asks for what is missing\n",
               result.bench.c_str(), result.incomplete.c_str());
  return kFailed;
}

}  // namespace tephra::cli
