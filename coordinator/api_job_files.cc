// What a job leaves: logs, metrics, the flights of its ranks.
#include <algorithm>

#include "base/env.h"
#include "coordinator/api.h"
#include "coordinator/api_reply.h"
#include "coordinator/job_files.h"
#include "coordinator/log_tail.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpReply;
using cluster::HttpResponse;
using cluster::HttpStream;

constexpr std::chrono::milliseconds kFollow{300};  // between looks at a log file

// Every n-th line, counted from the last, so that at most `lines` are left.
std::string thin(const std::string& text, size_t lines) {
  const auto all = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  if (all <= lines) return text;
  const size_t every = (all + lines - 1) / lines;
  std::string out;
  size_t number = 0;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    if ((all - ++number) % every == 0) out.append(text, begin, end + 1 - begin);
  return out;
}

HttpResponse metrics(const ApiRequest& request, const JobView& view) {
  HttpResponse response = job_file(JobFiles(view.directory).metrics_path(), "application/x-ndjson",
                                   "job " + view.state.id + " has made no step yet");
  const auto lines = static_cast<size_t>(request.number("lines", 0));
  if (lines > 0 && response.status == 200) response.body = thin(response.body, lines);
  return response;
}

// Of the ranks that run, with at most `records` of each; view=report: what they tell, in place of the records. filed:
// what the newest attempt that has filed any left; attempt: what that one did.
HttpResponse flights(Coordinator& coordinator, const ApiRequest& request, const JobView& view) {
  const int64_t attempt = request.number("attempt", 0);
  if (attempt > 0 || request.flag("filed"))
    return text_reply(JobFiles(view.directory).read_flights(static_cast<uint32_t>(attempt), view.state.attempt));
  const auto records = static_cast<uint32_t>(request.number("records", kFlightRecordsMax));
  const bool report = request.text("view") == "report";
  HttpResponse response;
  response.later = [&coordinator, id = view.state.id, records, report](const std::shared_ptr<HttpReply>& to) {
    coordinator.flights(id, records, [to, report](const Result<GangFlight>& gang) {
      if (!gang.ok()) return to->send(error_reply(gang.status()));
      to->send(text_reply(report ? report_json(*gang, examine(*gang)) : to_json(*gang)));
    });
  };
  return response;
}

HttpResponse flight_report(const ApiRequest& request, const JobView& view) {
  const auto attempt = static_cast<uint32_t>(request.number("attempt", 0));
  return text_reply(JobFiles(view.directory).read_flight_report(attempt, view.state.attempt));
}

// One attempt's log after another's, as a client follows it.
class LogFollower {
 public:
  LogFollower(std::string folder, int64_t attempt, int rank) : folder_(std::move(folder)), rank_(rank) {
    open(attempt);
  }

  int64_t attempt() const { return attempt_; }
  void open(int64_t attempt) {
    attempt_ = attempt;
    tail_ = std::make_unique<LogTail>(folder_ + std::to_string(attempt) + "/gang.log", rank_);
  }
  // Writes what is there; false when the client has gone.
  bool drain(HttpStream& stream) {
    for (;;) {
      const std::string lines = tail_->more();
      if (!lines.empty() && !stream.write(lines)) return false;
      if (!tail_->read_something()) return true;
    }
  }

 private:
  const std::string folder_;
  const int rank_;
  int64_t attempt_ = 0;
  std::unique_ptr<LogTail> tail_;
};

HttpResponse logs(Coordinator& coordinator, const ApiRequest& request, const JobView& view) {
  const bool following = request.flag("follow");
  const int64_t attempt = request.number("attempt", view.state.attempt);
  if (attempt <= 0 && !following)
    return error_reply(404, "not_found", "job " + view.state.id + " has not started a gang yet");
  const bool newest = request.number("attempt", 0) <= 0;
  const int rank = static_cast<int>(request.number("rank", -1));
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.stream = [&coordinator, id = view.state.id, folder = view.directory + "/logs/attempt-", attempt, rank,
                     following, newest](const std::shared_ptr<HttpStream>& stream) {
    auto follower = std::make_shared<LogFollower>(folder, attempt, rank);
    if (!follower->drain(*stream) || !following) return stream->close();
    stream->repeat(kFollow, [&coordinator, id, newest, stream, follower] {
      const Result<JobView> now = coordinator.get(id);
      if (!follower->drain(*stream)) return false;
      if (now.ok() && newest && now->state.attempt > follower->attempt()) {
        follower->open(now->state.attempt);
        return follower->drain(*stream);
      }
      if (now.ok() && !is_final(now->state.phase)) return true;
      stream->close();
      return false;
    });
  };
  return response;
}

}  // namespace

std::function<HttpResponse(const ApiRequest&)> of_job(Coordinator& coordinator, JobHandler handle) {
  return [&coordinator, handle = std::move(handle)](const ApiRequest& request) {
    const Result<JobView> view = coordinator.get(request.path.at("job"));
    return view.ok() ? handle(request, *view) : error_reply(view.status());
  };
}

HttpResponse job_file(const std::string& path, const std::string& type, const std::string& missing) {
  if (!Env::posix().exists(path)) return error_reply(404, "not_found", missing);
  Result<std::string> text = read_file(Env::posix(), path);
  if (!text.ok()) return error_reply(text.status());
  HttpResponse response;
  response.content_type = type;
  response.body = std::move(text).value();
  // A report shows text that a model made; it may not run scripts against this origin. The page shows it in a frame.
  response.headers["Content-Security-Policy"] =
      "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'";
  return response;
}

std::vector<ApiRoute> job_file_routes(const ApiContext& context) {
  Coordinator& c = context.coordinator;
  const ApiParameter job = path_parameter("job", "a job's id");
  const ApiParameter attempt = number_parameter("attempt", "of this attempt; 0: of the newest");
  return {
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/logs",
       .id = "jobLogs",
       .about = "What the ranks wrote: the last MiB",
       .parameters = {job, attempt, number_parameter("rank", "only this rank's lines"),
                      flag_parameter("follow", "go on until the job has ended")},
       .content_type = "text/plain; charset=utf-8",
       .handle = of_job(c, [&c](const ApiRequest& request, const JobView& view) { return logs(c, request, view); })},
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/metrics",
       .id = "jobMetrics",
       .about = "One JSON line a step and attempt; after a restart steps occur again, the last line of a step counts",
       .parameters = {job, number_parameter("lines", "at most so many, evenly chosen, the last among them", 1)},
       .content_type = "application/x-ndjson",
       .handle = of_job(c, metrics)},
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/flights",
       .id = "jobFlights",
       .about = "What the ranks did last and do now",
       .parameters = {job, attempt, number_parameter("records", "of each rank, at most", 0, kFlightRecordsMax),
                      choice_parameter("view", "what the records tell, in place of them", {"report"}),
                      flag_parameter("filed", "what the newest attempt that has filed any left")},
       .schema = "Flights",
       .errors = {409},
       .handle = of_job(c, [&c](const ApiRequest& request, const JobView& view) { return flights(c, request, view); })},
      {.method = "GET",
       .path = "/api/v1/jobs/{job}/flight-report",
       .id = "jobFlightReport",
       .about = "Of a lost attempt: which rank was behind, and the page that says so",
       .parameters = {job, attempt},
       .schema = "FlightReport",
       .handle = of_job(c, flight_report)},
  };
}

}  // namespace tephra::coordinator
