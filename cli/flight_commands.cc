#include "cli/flight_commands.h"

#include <cstdio>

#include "base/env.h"
#include "cli/app.h"
#include "cli/text.h"
#include "coordinator/chrome_trace.h"
#include "coordinator/job_files.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

std::string address(const std::string& job, const std::string& rest) { return "/api/v1/jobs/" + job + "/" + rest; }

// "all_gather #12 of head"
std::string collective(const json& rank) {
  const json& c = rank["collective"];
  if (!c.is_object()) return "after #" + std::to_string(rank.value("collective_sequence", uint64_t{0}));
  const std::string unit = c.value("unit", "");
  return c.value("kind", "") + " #" + std::to_string(c.value("sequence", uint64_t{0})) +
         (unit.empty() ? "" : " of " + unit);
}

std::vector<std::string> row(const json& rank) {
  const json& c = rank["collective"];
  const double age = rank.value("heartbeat_age_ms", -1.0);
  return {std::to_string(rank.value("rank", 0)),
          std::to_string(rank.value("pid", int64_t{0})),
          rank.value("host", ""),
          rank.value("phase", ""),
          rank.value("unit", ""),
          std::to_string(rank.value("step", int64_t{0})),
          fixed(rank.value("phase_seconds", 0.0), 2) + " s",
          collective(rank),
          c.is_object() ? fixed(c.value("seconds", 0.0), 2) + " s" : "",
          age < 0 ? "never" : fixed(age / 1000, 1) + " s ago",
          human_bytes(rank.value("rss_bytes", 0.0))};
}

std::string pace_table(const json& report) {
  std::vector<std::vector<std::string>> rows;
  for (const json& pace : report["paces"])
    rows.push_back({std::to_string(pace.value("rank", 0)), fixed(pace.value("compute_mean_seconds", 0.0), 3),
                    fixed(pace.value("compute_max_seconds", 0.0), 3), fixed(pace.value("waited_mean_seconds", 0.0), 3),
                    std::to_string(pace.value("last", 0))});
  if (rows.empty()) return "";
  const json& steps = report["paced_steps"];
  return "\nseconds a step, steps " + std::to_string(steps.value("first", int64_t{0})) + " to " +
         std::to_string(steps.value("last", int64_t{0})) + " (" + std::to_string(steps.value("count", 0)) + ")\n" +
         table({"rank", "compute mean", "compute max", "waited mean", "last in"}, rows);
}

Result<std::string> read_flights(const std::optional<Server>& server, const json& job, int attempt) {
  const std::string id = job.value("id", "");
  if (!server)
    return coordinator::JobFiles(job.value("directory", ""))
        .read_flights(static_cast<uint32_t>(attempt), job.value("attempt", 0u));
  if (attempt > 0)
    return checked(http_request(*server, "GET", address(id, "flights?attempt=" + std::to_string(attempt))));
  Result<std::string> live = checked(http_request(*server, "GET", address(id, "flights")));
  if (live.ok() || live.status().code() != Code::kUnavailable) return live;
  return checked(http_request(*server, "GET", address(id, "flights?filed=1")));
}

std::string covered(const coordinator::ChromeTrace& trace, int asked) {
  if (trace.steps == 0) return "no whole step (a step has more operations than the 1,000 kept, or none is finished)";
  std::string text = trace.steps == 1
                         ? "step " + std::to_string(trace.last_step)
                         : "steps " + std::to_string(trace.first_step) + " to " + std::to_string(trace.last_step);
  if (trace.steps < asked) text += " (no more are finished and still among the 1,000 operations kept)";
  return text;
}

}  // namespace

int show_ranks(const Server& server, const std::string& job, bool as_json) {
  const auto body = checked(http_request(server, "GET", address(job, "flights?view=report&records=64")));
  if (!body.ok()) return fail(body.status());
  json report = json::parse(*body, nullptr, false);
  if (!report.is_object()) return fail({Code::kInternal, "the server's answer is not understood"});
  if (as_json) {
    std::printf("%s\n", report.dump(2).c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json& rank : report["ranks"]) rows.push_back(row(rank));
  std::printf(
      "job %s, attempt %d, stage %s\n\n%s", job.c_str(), report.value("attempt", 0), report.value("stage", "").c_str(),
      table({"rank", "pid", "host", "phase", "unit", "step", "for", "collective", "for", "heartbeat", "memory"}, rows)
          .c_str());
  std::printf("%s\n%s\n", pace_table(report).c_str(), report.value("verdict", "").c_str());
  return kOk;
}

Result<json> read_flight_report(const std::optional<Server>& server, const json& job, int attempt) {
  const Result<std::string> text =
      server ? checked(http_request(*server, "GET",
                                    address(job.value("id", ""), "flight-report?attempt=" + std::to_string(attempt))))
             : coordinator::JobFiles(job.value("directory", ""))
                   .read_flight_report(static_cast<uint32_t>(attempt), job.value("attempt", 0u));
  if (!text.ok()) return text.status();
  json report = json::parse(*text, nullptr, false);
  if (!report.is_object()) return Status(Code::kCorruption, "the flight report is not a JSON object");
  return report;
}

void print_flight_report(const json& report, bool whole) {
  const int attempt = report.value("attempt", 0);
  if (whole) {
    std::printf("\nwhy attempt %d was lost\n\n%s", attempt, report.value("page", "").c_str());
    return;
  }
  std::printf("\nwhere the ranks were when attempt %d was lost: tephra show %s --attempt %d\n", attempt,
              report.value("job", "").c_str(), attempt);
}

int trace_job(const std::optional<Server>& server, const json& job, const TraceOptions& o) {
  const Result<std::string> text = read_flights(server, job, o.attempt);
  if (!text.ok()) return fail(text.status());
  const auto gang = coordinator::gang_flight_from_json(*text);
  if (!gang.ok()) return fail(gang.status());
  const auto trace = coordinator::chrome_trace(*gang, o.steps);
  if (!trace.ok()) return fail(trace.status());
  if (const Status written = write_file_atomic(Env::posix(), o.out, trace->json); !written.ok()) return fail(written);
  if (o.json) {
    std::printf("%s\n", json{{"out", o.out},
                             {"attempt", gang->attempt},
                             {"stage", gang->stage},
                             {"ranks", trace->ranks},
                             {"steps", trace->steps},
                             {"first_step", trace->first_step},
                             {"last_step", trace->last_step},
                             {"events", trace->events}}
                            .dump()
                            .c_str());
    return kOk;
  }
  std::printf("%s: %s of stage %s, attempt %u; %zu operations of %d of %zu ranks. Open it in https://ui.perfetto.dev\n",
              o.out.c_str(), covered(*trace, o.steps).c_str(), gang->stage.c_str(), gang->attempt, trace->events,
              trace->ranks, gang->ranks.size());
  return kOk;
}

}  // namespace tephra::cli
