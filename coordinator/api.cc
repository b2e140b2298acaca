#include "coordinator/api.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/env.h"
#include "cluster/http/http_text.h"
#include "coordinator/job_files.h"
#include "coordinator/status_page.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpHandler;
using cluster::HttpReply;
using cluster::HttpRequest;
using cluster::HttpResponse;
using cluster::HttpStream;
using nlohmann::json;

constexpr std::chrono::milliseconds kKeepAlive{
    15000};                                        // between comments on a quiet stream, so that proxies keep it open
constexpr std::chrono::milliseconds kFollow{300};  // between looks at a log file
constexpr size_t kFollowBytes = 256u << 10;        // of one look
constexpr int64_t kLogBytes = 1 << 20;             // of what was there before; the file has the rest

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

HttpResponse reply(const json& document, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = dump(document) + "\n";
  return response;
}

HttpResponse error(int status, std::string_view code, const std::string& message) {
  return reply({{"error", {{"code", code}, {"message", message}}}}, status);
}

HttpResponse error(const Status& status) {
  int http = 500;
  if (status.code() == Code::kNotFound) http = 404;
  if (status.code() == Code::kInvalidArgument) http = 422;
  if (status.code() == Code::kUnavailable || status.code() == Code::kCancelled) http = 503;
  if (status.code() == Code::kBusy) http = 429;
  return error(http, code_name(status.code()), status.message());
}

json manifest_json(const storage::CheckpointInfo& info) {
  const storage::Manifest& header = info.header;
  return {{"name", info.name},
          {"job", header.job},
          {"stage", header.stage},
          {"step", header.step},
          {"attempt", header.attempt},
          {"parent", header.parent},
          {"created_unix_ms", header.created_unix_ms},
          {"stage_complete", header.stage_complete},
          {"content_hash", header.content_hash.hex()},
          {"logical_bytes", header.logical_bytes},
          {"new_bytes", header.new_bytes},
          {"metrics", header.metrics},
          {"handover", header.handover},
          {"tags", info.tags}};
}

class Api {
 public:
  Api(Coordinator& coordinator, std::string token) : coordinator_(coordinator), token_(std::move(token)) {}

  HttpResponse handle(const HttpRequest& request) const {
    const bool read = request.method == "GET" || request.method == "HEAD";
    if (request.path == "/healthz" || request.path == "/readyz" || request.path == "/") {
      if (!read) return wrong_method("GET");
      return request.path == "/" ? page() : reply({{"status", "ok"}});
    }
    if (token_.empty() && !cluster::is_local_name(request))
      return error(403, "forbidden",
                   "this coordinator has no token, so it answers only requests that are addressed to localhost");
    if (!token_.empty() && !cluster::has_bearer_token(request, token_)) {
      HttpResponse refused =
          error(401, "unauthorized", "this coordinator asks for its token: Authorization: Bearer TOKEN");
      refused.headers["WWW-Authenticate"] = "Bearer";
      return refused;
    }
    if (request.path == "/api/v1/jobs") {
      if (request.method == "POST") return submit(request);
      return read ? list() : wrong_method("GET, POST");
    }
    if (request.path == "/api/v1/checkpoints") return read ? checkpoints(request) : wrong_method("GET");
    const std::string prefix = "/api/v1/jobs/";
    if (request.path.starts_with(prefix)) return job(request, request.path.substr(prefix.size()), read);
    return error(404, "not_found", "there is nothing at " + request.path);
  }

 private:
  static HttpResponse wrong_method(const std::string& allowed) {
    HttpResponse response = error(405, "method_not_allowed", "this address takes " + allowed);
    response.headers["Allow"] = allowed;
    return response;
  }

  static HttpResponse page() {
    HttpResponse response;
    response.content_type = "text/html; charset=utf-8";
    response.body = std::string(kStatusPage);
    response.headers["Content-Security-Policy"] =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'";
    response.headers["X-Content-Type-Options"] = "nosniff";
    return response;
  }

  HttpResponse list() const {
    json jobs = json::array();
    for (const JobView& view : coordinator_.list()) jobs.push_back(json::parse(to_json(view, false)));
    return reply({{"jobs", jobs}, {"slots", coordinator_.slots()}});
  }

  HttpResponse submit(const HttpRequest& request) const {
    const json body = json::parse(request.body, nullptr, false);
    if (!body.is_object()) return error(400, "bad_json", "the body is not a JSON object");
    const auto text = [&body](const char* key) {
      return body.contains(key) && body[key].is_string() ? body[key].get<std::string>() : std::string();
    };
    std::string recipe_json;
    if (body.contains("recipe_json")) {
      recipe_json = body["recipe_json"].is_string() ? text("recipe_json") : dump(body["recipe_json"]);
    } else if (!text("recipe_yaml").empty()) {
      const std::string folder = text("base_dir");
      if (folder.empty() || folder[0] != '/')
        return error(422, "invalid_argument",
                     "base_dir: give the absolute folder that relative paths of recipe_yaml are joined to");
      const recipes::LoadResult loaded = recipes::parse_recipe(text("recipe_yaml"), folder + "/recipe.yaml");
      if (!loaded.ok()) return diagnostics(loaded.diagnostics);
      recipe_json = recipes::to_json(loaded.recipe);
    } else {
      return error(422, "invalid_argument", "give recipe_json, or recipe_yaml and base_dir");
    }
    const Result<std::string> id = coordinator_.submit(recipe_json, text("user"));
    if (!id.ok()) return error(id.status());
    return reply({{"id", *id}}, 201);
  }

  static HttpResponse diagnostics(const std::vector<Diagnostic>& found) {
    json rows = json::array();
    for (const Diagnostic& d : found)
      rows.push_back(
          {{"line", d.line}, {"column", d.column}, {"field", d.field}, {"message", d.message}, {"hint", d.hint}});
    return reply({{"error", {{"code", "invalid_argument"}, {"message", to_string(found)}, {"diagnostics", rows}}}},
                 422);
  }

  HttpResponse checkpoints(const HttpRequest& request) const {
    const auto job = request.query.find("job");
    const Result<std::vector<storage::CheckpointInfo>> found =
        coordinator_.store().list(job == request.query.end() ? "" : job->second);
    if (!found.ok()) return error(found.status());
    json rows = json::array();
    for (const storage::CheckpointInfo& info : *found) rows.push_back(manifest_json(info));
    return reply({{"checkpoints", rows}});
  }

  HttpResponse job(const HttpRequest& request, const std::string& rest, bool read) const {
    const std::string id = rest.substr(0, rest.find('/'));
    const std::string what = rest.size() > id.size() ? rest.substr(id.size() + 1) : "";
    const Result<JobView> view = coordinator_.get(id);
    if (!view.ok()) return error(view.status());
    if (what == "cancel") {
      if (request.method != "POST") return wrong_method("POST");
      const Status status = coordinator_.cancel(id, "cancelled by a request");
      return status.ok() ? reply({{"id", id}, {"cancel_requested", true}}, 202) : error(status);
    }
    if (what == "pause" || what == "resume") {
      if (request.method != "POST") return wrong_method("POST");
      const Status status = what == "pause" ? coordinator_.pause(id) : coordinator_.resume(id);
      return status.ok() ? reply({{"id", id}, {what + "_requested", true}}, 202) : error(status);
    }
    if (!read) return wrong_method("GET");
    if (what.empty()) return reply(json::parse(to_json(*view, true)));
    if (what == "events") return events(*view);
    if (what == "logs") return logs(request, *view);
    if (what == "flights") return flights(request, *view);
    if (what == "flight-report") return flight_report(request, *view);
    if (what == "report")
      return file(view->report_path, "text/html; charset=utf-8", "job " + id + " has no report yet");
    if (what == "metrics")
      return file(view->directory + "/metrics.jsonl", "application/x-ndjson", "job " + id + " has made no step yet");
    return error(404, "not_found", "there is nothing at " + request.path);
  }

  // Of the ranks that run, with at most ?records=N of each; ?view=report: what they tell, in place of the records.
  // ?filed=1: what the newest attempt that has filed any left; ?attempt=N: what that one did.
  HttpResponse flights(const HttpRequest& request, const JobView& view) const {
    const int64_t attempt = number(request, "attempt", 0);
    if (attempt > 0 || number(request, "filed", 0) > 0)
      return document(JobFiles(view.directory).read_flights(static_cast<uint32_t>(attempt), view.state.attempt));
    const auto records =
        static_cast<uint32_t>(std::clamp<int64_t>(number(request, "records", kFlightRecordsMax), 0, kFlightRecordsMax));
    const auto wanted = request.query.find("view");
    const bool report = wanted != request.query.end() && wanted->second == "report";
    HttpResponse response;
    response.later = [this, id = view.state.id, records, report](const std::shared_ptr<HttpReply>& to) {
      coordinator_.flights(id, records, [to, report](const Result<GangFlight>& gang) {
        if (!gang.ok()) return to->send(error(gang.status()));
        to->send(document(report ? report_json(*gang, examine(*gang)) : to_json(*gang)));
      });
    };
    return response;
  }

  static HttpResponse flight_report(const HttpRequest& request, const JobView& view) {
    const auto attempt = static_cast<uint32_t>(number(request, "attempt", 0));
    return document(JobFiles(view.directory).read_flight_report(attempt, view.state.attempt));
  }

  static HttpResponse document(const Result<std::string>& text) {
    if (!text.ok()) return error(text.status());
    HttpResponse response;
    response.body = *text + "\n";
    return response;
  }

  static int64_t number(const HttpRequest& request, const char* key, int64_t fallback) {
    const auto found = request.query.find(key);
    return found == request.query.end() || found->second.empty() ? fallback
                                                                 : std::strtoll(found->second.c_str(), nullptr, 10);
  }

  static HttpResponse file(const std::string& path, const std::string& type, const std::string& missing) {
    if (path.empty() || !Env::posix().exists(path)) return error(404, "not_found", missing);
    Result<std::string> text = read_file(Env::posix(), path);
    if (!text.ok()) return error(text.status());
    HttpResponse response;
    response.content_type = type;
    response.body = std::move(text).value();
    // A report shows text that a model made; it may not run scripts against this origin.
    response.headers["Content-Security-Policy"] =
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";
    response.headers["X-Content-Type-Options"] = "nosniff";
    return response;
  }

  // The job as it is, then what happens to it, until it has ended.
  HttpResponse events(const JobView& view) const {
    HttpResponse response;
    response.content_type = "text/event-stream";
    const std::string id = view.state.id;
    response.stream = [this, id](const std::shared_ptr<HttpStream>& stream) {
      const uint64_t subscription = coordinator_.subscribe(id, [stream](const JobEvent& event) {
        stream->write("event: " + std::string(kind_name(event.kind)) + "\nid: " + std::to_string(event.sequence) +
                      "\ndata: " + to_json(event) + "\n\n");
        if (event.kind == JobEvent::Kind::kState && is_final(event.phase)) stream->close();
      });
      stream->on_closed([this, subscription] { coordinator_.unsubscribe(subscription); });
      const Result<JobView> now = coordinator_.get(id);
      if (!now.ok()) return stream->close();
      stream->write("event: job\ndata: " + to_json(*now, false) + "\n\n");
      if (is_final(now->state.phase)) return stream->close();
      stream->repeat(kKeepAlive, [stream] { return stream->write(": quiet\n\n"); });
    };
    return response;
  }

  HttpResponse logs(const HttpRequest& request, const JobView& view) const;

  Coordinator& coordinator_;
  const std::string token_;
};

// Lines of a file: its last MiB, then what is appended; of one rank, or all (-1). mpirun tags each line
// "[1,RANK]<stdout>: ".
class LogTail {
 public:
  LogTail(std::string path, int rank)
      : path_(std::move(path)), tag_(rank < 0 ? "" : "[1," + std::to_string(rank) + "]<") {
    std::ifstream in(path_, std::ios::binary | std::ios::ate);
    const int64_t size = in ? static_cast<int64_t>(in.tellg()) : 0;
    if (size <= kLogBytes) return;
    in.seekg(size - kLogBytes);
    std::string cut;
    std::getline(in, cut);
    offset_ = static_cast<uint64_t>(size - kLogBytes) + cut.size() + 1;
  }

  // What was appended since, whole lines only; at most kFollowBytes.
  std::string more() {
    std::ifstream in(path_, std::ios::binary);
    if (!in) return "";
    in.seekg(static_cast<std::streamoff>(offset_));
    std::string bytes(kFollowBytes, '\0');
    in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<size_t>(in.gcount()));
    const size_t end = bytes.rfind('\n');
    if (end == std::string::npos && bytes.size() < kFollowBytes) return "";
    bytes.resize(end == std::string::npos ? bytes.size() : end + 1);
    offset_ += bytes.size();
    read_something_ = true;
    return filtered(bytes);
  }
  bool read_something() { return std::exchange(read_something_, false); }

 private:
  std::string filtered(const std::string& bytes) const {
    if (tag_.empty()) return bytes;
    std::string out;
    for (size_t begin = 0; begin < bytes.size();) {
      const size_t end = std::min(bytes.find('\n', begin), bytes.size() - 1) + 1;
      if (bytes.compare(begin, tag_.size(), tag_) == 0) out.append(bytes, begin, end - begin);
      begin = end;
    }
    return out;
  }

  const std::string path_;
  const std::string tag_;
  uint64_t offset_ = 0;
  bool read_something_ = false;
};

HttpResponse Api::logs(const HttpRequest& request, const JobView& view) const {
  const auto follow = request.query.find("follow");
  const bool following = follow != request.query.end() && follow->second != "0" && follow->second != "false";
  const int64_t attempt = number(request, "attempt", view.state.attempt);
  if (attempt <= 0 && !following)
    return error(404, "not_found", "job " + view.state.id + " has not started a gang yet");
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  const std::string id = view.state.id;
  const std::string folder = view.directory + "/logs/attempt-";
  const int rank = static_cast<int>(number(request, "rank", -1));
  const bool newest = number(request, "attempt", 0) <= 0;
  response.stream = [this, id, folder, attempt, rank, following, newest](const std::shared_ptr<HttpStream>& stream) {
    struct Follow {
      int64_t attempt;
      std::unique_ptr<LogTail> tail;
    };
    auto at = std::make_shared<Follow>(
        Follow{attempt, std::make_unique<LogTail>(folder + std::to_string(attempt) + "/gang.log", rank)});
    const auto drain = [stream, at] {
      for (;;) {
        const std::string lines = at->tail->more();
        if (!lines.empty() && !stream->write(lines)) return false;
        if (!at->tail->read_something()) return true;
      }
    };
    if (!drain() || !following) return stream->close();
    stream->repeat(kFollow, [this, id, folder, rank, newest, stream, at, drain] {
      const Result<JobView> now = coordinator_.get(id);
      if (!drain()) return false;
      if (now.ok() && newest && now->state.attempt > at->attempt) {
        at->attempt = now->state.attempt;
        at->tail = std::make_unique<LogTail>(folder + std::to_string(at->attempt) + "/gang.log", rank);
        return drain();
      }
      if (now.ok() && !is_final(now->state.phase)) return true;
      stream->close();
      return false;
    });
  };
  return response;
}

}  // namespace

HttpHandler make_api(Coordinator& coordinator, std::string token) {
  auto api = std::make_shared<const Api>(coordinator, std::move(token));
  return [api](const HttpRequest& request) { return api->handle(request); };
}

}  // namespace tephra::coordinator
