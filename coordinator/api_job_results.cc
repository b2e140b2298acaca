// What a job's benches measured, and its report: with a token, or at an address that is one.
#include "base/env.h"
#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/job_files.h"
#include "coordinator/report_links.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;
using nlohmann::json;

HttpResponse report(const JobView& view) {
  const std::string missing = "job " + view.state.id + " has no report yet";
  if (view.report_path.empty()) return error_reply(404, "not_found", missing);
  return job_file(view.report_path, "text/html; charset=utf-8", missing);
}

// Each stage's benches that are scored, after it and during it, without the questions and answers.
HttpResponse results(const JobView& view) {
  json rows = json::array();
  const JobFiles files(view.directory);
  for (size_t i = 0; i < view.state.plan.size(); ++i)
    for (const auto& [bench, done] : view.state.stages[i].bench_done) {
      if (!done) continue;
      const std::string& stage = view.state.plan[i].name;
      const Result<std::string> text = read_file(Env::posix(), files.result_path(stage, bench));
      if (!text.ok()) return error_reply(text.status());
      json row = json::parse(*text, nullptr, false);
      if (!row.is_object()) return error_reply(500, "corruption", files.result_path(stage, bench) + " is not a result");
      row.erase("cases");
      row["stage"] = stage;
      rows.push_back(std::move(row));
    }
  json during = json::array();
  for (size_t i = 0; i < view.state.plan.size(); ++i) {
    const auto measured = files.read_during(view.state, i);
    if (!measured.ok()) return error_reply(measured.status());
    for (const eval::DuringStage& at : *measured) {
      json row = json::parse(eval::to_json(at.result));
      row.erase("cases");
      row["stage"] = view.state.plan[i].name;
      row["step"] = at.step;
      during.push_back(std::move(row));
    }
  }
  return json_reply({{"results", rows}, {"during", during}});
}

HttpResponse make_link(const ApiContext& context, const JobView& view) {
  if (view.report_path.empty()) return error_reply(404, "not_found", "job " + view.state.id + " has no report yet");
  const ReportLink link = context.report_links->make(view.state.id, context.coordinator.options().clock->unix_ms());
  return json_reply({{"path", "/reports/" + link.ticket}, {"until_unix_ms", link.until_unix_ms}});
}

HttpResponse linked_report(const ApiContext& context, const ApiRequest& request) {
  const std::string job =
      context.report_links->job(request.path.at("ticket"), context.coordinator.options().clock->unix_ms());
  if (job.empty())
    return error_reply(404, "not_found", "this address of a report is over; open the report from its job's page again");
  const Result<JobView> view = context.coordinator.get(job);
  return view.ok() ? report(*view) : error_reply(view.status());
}

}  // namespace

std::vector<ApiRoute> job_result_routes(const ApiContext& context) {
  Coordinator& c = context.coordinator;
  const ApiParameter job = path_parameter("job", "a job's id");
  return {
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/results",
       .id = "jobResults",
       .about = "What the benches of each stage measured, without the answers",
       .parameters = {job},
       .schema = "Results",
       .handle = of_job(c, [](const ApiRequest&, const JobView& view) { return results(view); })},
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/report",
       .id = "jobReport",
       .about = "The evaluation report as one HTML page",
       .parameters = {job},
       .content_type = "text/html; charset=utf-8",
       .handle = of_job(c, [](const ApiRequest&, const JobView& view) { return report(view); })},
      {.method = "POST",
       .path = "/api/v1/jobs/{job}/report/link",
       .id = "linkReport",
       .about = "An address of the report that needs no token, for ten minutes",
       .parameters = {job},
       .schema = "ReportLink",
       .handle = of_job(c, [context](const ApiRequest&, const JobView& view) { return make_link(context, view); })},
      {.method = "GET",
       .path = "/reports/{ticket}",
       .id = "linkedReport",
       .about = "The report that such an address is of",
       .role = Role::kNone,
       .parameters = {path_parameter("ticket", "of linkReport's answer")},
       .content_type = "text/html; charset=utf-8",
       .handle = [context](const ApiRequest& request) { return linked_report(context, request); }},
  };
}

}  // namespace tephra::coordinator
