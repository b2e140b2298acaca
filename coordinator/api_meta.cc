// Of the coordinator itself: health, metrics, the document of the interface.
#include "base/version.h"
#include "coordinator/api.h"
#include "coordinator/api_openapi.h"
#include "coordinator/api_reply.h"
#include "coordinator/metrics.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpResponse;
using nlohmann::json;

HttpResponse ready(Coordinator& coordinator) {
  json checks = json::object();
  std::string first;
  for (const ReadinessCheck& check : coordinator.readiness()) {
    checks[check.name] = check.status.ok() ? "ok" : check.status.message();
    if (!check.status.ok() && first.empty()) first = check.name + ": " + check.status.message();
  }
  if (first.empty()) return json_reply({{"status", "ok"}, {"checks", checks}});
  return json_reply({{"error", {{"code", "unavailable"}, {"message", first}}}, {"checks", checks}}, 503);
}

HttpResponse server(const ApiContext& context, const ApiRequest& request) {
  return json_reply({{"version", kVersion},
                     {"slots", context.coordinator.slots()},
                     {"unix_ms", context.coordinator.options().clock->unix_ms()},
                     {"token_required", context.tokens->required()},
                     {"name", request.who.name},
                     {"role", role_name(request.who.role)}});
}

}  // namespace

std::vector<ApiRoute> meta_routes(const ApiContext& context) {
  return {
      {.method = "GET",
       .path = "/healthz",
       .id = "health",
       .about = "The process lives",
       .role = Role::kNone,
       .schema = "Health",
       .handle =
           [](const ApiRequest&) {
             return json_reply({{"status", "ok"}});
           }},
      {.method = "GET",
       .path = "/readyz",
       .id = "ready",
       .about = "Jobs can be taken and run: the journal is writable, the programs are there",
       .role = Role::kNone,
       .schema = "Health",
       .errors = {503},
       .handle = [&c = context.coordinator](const ApiRequest&) { return ready(c); }},
      {.method = "GET",
       .path = "/metrics",
       .id = "metrics",
       .about = "Metrics in Prometheus' text format",
       .content_type = "text/plain; version=0.0.4; charset=utf-8",
       .handle =
           [context](const ApiRequest&) {
             HttpResponse response;
             response.content_type = "text/plain; version=0.0.4; charset=utf-8";
             response.body = context.metrics->text(context.coordinator);
             return response;
           }},
      {.method = "GET",
       .path = "/api/v1/server",
       .id = "showServer",
       .about = "The coordinator, and as whom it knows the one who asks",
       .schema = "Server",
       .handle = [context](const ApiRequest& request) { return server(context, request); }},
      {.method = "GET",
       .path = "/api/v1/openapi.json",
       .id = "openapi",
       .about = "This document",
       .role = Role::kNone,
       .schema = "Document",
       .handle = [context](const ApiRequest&) { return json_reply(openapi_document(all_routes(context))); }},
  };
}

std::vector<ApiRoute> all_routes(const ApiContext& context) {
  std::vector<ApiRoute> routes;
  for (auto make :
       {page_routes, meta_routes, job_routes, job_file_routes, job_result_routes, event_routes, checkpoint_routes})
    for (ApiRoute& route : make(context)) routes.push_back(std::move(route));
  return routes;
}

}  // namespace tephra::coordinator
