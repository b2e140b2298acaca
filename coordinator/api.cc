#include "coordinator/api.h"

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "base/rate_limit.h"
#include "cluster/http/http_text.h"
#include "coordinator/api_reply.h"
#include "coordinator/audit_log.h"
#include "coordinator/checkpoint_verifier.h"
#include "coordinator/event_hub.h"
#include "coordinator/metrics.h"
#include "coordinator/report_links.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpHandler;
using cluster::HttpRequest;
using cluster::HttpResponse;

// A wrong token costs as much as so many requests: guessing is slow, and fills no log.
constexpr double kWrongTokenCost = 50;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

HttpResponse wrong_method(const std::string& allowed) {
  HttpResponse response = error_reply(405, "method_not_allowed", "this address takes " + allowed);
  response.headers["Allow"] = allowed;
  return response;
}

HttpResponse wrong_parameters(const std::vector<ParameterProblem>& problems) {
  nlohmann::json rows = nlohmann::json::array();
  std::string message;
  for (const ParameterProblem& problem : problems) {
    rows.push_back({{"field", problem.field}, {"message", problem.message}});
    message += (message.empty() ? "" : "; ") + problem.message;
  }
  return json_reply({{"error", {{"code", "invalid_argument"}, {"message", message}, {"diagnostics", rows}}}}, 422);
}

HttpResponse unauthorized(bool given) {
  HttpResponse refused = error_reply(
      401, "unauthorized",
      given ? "this token is not known here; it may have been revoked. An admin makes tokens with tephra token create"
            : "this coordinator asks for a token: Authorization: Bearer TOKEN");
  refused.headers["WWW-Authenticate"] = "Bearer";
  return refused;
}

// A web page of another origin can make a browser send requests here; it cannot hide where they come from.
bool from_another_origin(const HttpRequest& request) {
  const auto origin = request.headers.find("origin");
  if (origin == request.headers.end()) return false;
  const auto host = request.headers.find("host");
  const size_t scheme = origin->second.find("://");
  return host == request.headers.end() || scheme == std::string::npos ||
         origin->second.substr(scheme + 3) != host->second;
}

bool is_json(const HttpRequest& request) {
  const auto type = request.headers.find("content-type");
  if (type == request.headers.end()) return true;
  return cluster::lower_case(type->second.substr(0, type->second.find_first_of("; "))) == "application/json";
}

class Api {
 public:
  Api(const ApiContext& context, const ApiOptions& options, std::unique_ptr<AuditLog> audit)
      : context_(context),
        routes_(all_routes(context)),
        limit_(options.requests_per_second, 2 * options.requests_per_second),
        audit_(std::move(audit)) {}

  HttpResponse handle(const HttpRequest& request) const {
    const double begin = now_seconds();
    Answer answer = this->answer(request);
    HttpResponse& response = answer.response;
    response.headers["X-Content-Type-Options"] = "nosniff";
    response.headers["Referrer-Policy"] = "no-referrer";
    if (!response.headers.contains("Cache-Control")) response.headers["Cache-Control"] = "no-store";
    const int status = response.later ? 200 : response.status;
    context_.metrics->http(answer.route == nullptr ? "none" : answer.route->id, status, now_seconds() - begin);
    if (audit_ != nullptr && (status == 401 || status == 403 || (request.method != "GET" && request.method != "HEAD")))
      audit_->write({context_.coordinator.options().clock->unix_ms(), answer.who.name, answer.who.token_id,
                     std::string(role_name(answer.who.role)), request.from, request.method, request.path,
                     answer.route == nullptr ? "" : answer.route->id, status});
    // What follows a HEAD is the head alone; a stream would go on for ever.
    if (request.method == "HEAD" && response.stream) response.stream = nullptr;
    return std::move(response);
  }

 private:
  struct Answer {
    HttpResponse response;
    const ApiRoute* route = nullptr;
    Identity who{};
  };
  struct Found {
    const ApiRoute* route = nullptr;
    std::map<std::string, std::string> path{};
    std::string allowed{};  // methods of the address, when none of its rows takes this one
  };

  Found find(const HttpRequest& request) const {
    Found found;
    const std::string method = request.method == "HEAD" ? "GET" : request.method;
    for (const ApiRoute& route : routes_) {
      auto path = match_path(route.path, request.raw_path);
      if (!path) continue;
      if (route.method == method) return {&route, std::move(*path)};
      found.allowed += (found.allowed.empty() ? "" : ", ") + route.method + (route.method == "GET" ? ", HEAD" : "");
    }
    return found;
  }

  // Who asks; or the answer for who may not.
  std::optional<HttpResponse> authenticate(const HttpRequest& request, Identity* who) const {
    if (!context_.tokens->required()) {
      *who = {"local", "", Role::kAdmin};
      if (cluster::is_local_name(request)) return std::nullopt;
      return error_reply(403, "forbidden",
                         "this coordinator has no token, so it answers only requests that are addressed to localhost");
    }
    const std::string token = cluster::bearer_token(request);
    if (!token.empty())
      if (auto found = context_.tokens->find(token)) {
        *who = *found;
        return std::nullopt;
      }
    if (!token.empty()) limit_.charge(request.from, now_seconds(), kWrongTokenCost);
    return unauthorized(!token.empty());
  }

  Answer answer(const HttpRequest& request) const {
    if (const double wait = limit_.take(request.from, now_seconds()); wait > 0) {
      HttpResponse response = error_reply(429, "busy", "too many requests from " + request.from + "; try again later");
      response.headers["Retry-After"] = std::to_string(static_cast<int64_t>(std::ceil(wait)));
      return {std::move(response)};
    }
    Found found = find(request);
    Answer answer;
    answer.route = found.route;
    // Also before saying that there is nothing: who is nobody is not told what there is.
    if (found.route == nullptr || found.route->role != Role::kNone)
      if (auto refused = authenticate(request, &answer.who)) {
        answer.response = std::move(*refused);
        return answer;
      }
    answer.response =
        found.route == nullptr
            ? (found.allowed.empty() ? error_reply(404, "not_found", "there is nothing at " + request.path)
                                     : wrong_method(found.allowed))
            : run(*found.route, request, std::move(found.path), answer.who);
    return answer;
  }

  HttpResponse run(const ApiRoute& route, const HttpRequest& request, std::map<std::string, std::string> path,
                   const Identity& who) const {
    if (route.method != "GET" && from_another_origin(request))
      return error_reply(403, "forbidden", "a page of another origin may not change anything here");
    if (who.role < route.role)
      return error_reply(403, "forbidden",
                         "this takes the role " + std::string(role_name(route.role)) + "; token '" + who.name +
                             "' is a " + std::string(role_name(who.role)) + "'s");
    if (!route.body.empty() && !is_json(request))
      return error_reply(415, "unsupported", "the body has to be JSON, with Content-Type: application/json");
    if (const auto problems = check_parameters(route, request); !problems.empty()) return wrong_parameters(problems);
    return route.handle({request, std::move(path), who});
  }

  const ApiContext context_;
  const std::vector<ApiRoute> routes_;
  mutable RateLimit limit_;
  const std::unique_ptr<AuditLog> audit_;
};

}  // namespace

Result<HttpHandler> make_api(Coordinator& coordinator, const ApiOptions& options) {
  std::unique_ptr<AuditLog> audit;
  if (!options.audit_file.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(audit, AuditLog::open(options.audit_file));
  }
  const ApiContext context{coordinator,
                           std::make_shared<TokenCheck>(options.token, options.tokens_file),
                           std::make_shared<EventHub>(coordinator),
                           std::make_shared<Metrics>(coordinator),
                           std::make_shared<ReportLinks>(),
                           std::make_shared<CheckpointVerifier>(coordinator.store(), *coordinator.options().clock)};
  auto api = std::make_shared<const Api>(context, options, std::move(audit));
  return HttpHandler([api](const HttpRequest& request) { return api->handle(request); });
}

}  // namespace tephra::coordinator
