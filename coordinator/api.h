// The HTTP/JSON interface of a coordinator: /api/v1, metrics, health and the page for browsers. docs/api.md is the reference,
// /api/v1/openapi.json the document of what is served.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cluster/http/http_server.h"
#include "coordinator/api_route.h"
#include "coordinator/coordinator.h"

namespace tephra::coordinator {

class AuditLog;
class CheckpointVerifier;
class EventHub;
class Metrics;
class ReportLinks;

struct ApiOptions {
  std::string token;                  // an admin's, in clear; empty: none
  std::string tokens_file;            // empty: none
  std::string audit_file;             // empty: none is kept
  double requests_per_second = 1000;  // of one address, in the mean; bursts of twice as many
};

// What handlers work with. All of it outlives them.
struct ApiContext {
  Coordinator& coordinator;
  std::shared_ptr<const TokenCheck> tokens;
  std::shared_ptr<EventHub> events;
  std::shared_ptr<Metrics> metrics;
  std::shared_ptr<ReportLinks> report_links;
  std::shared_ptr<CheckpointVerifier> verifier;
};

// 403 for who may not change the job: a submitter changes its own only.
std::optional<cluster::HttpResponse> refuse_others(const ApiRequest& request, const JobView& view);

// A handler that is given the job that the path names.
using JobHandler = std::function<cluster::HttpResponse(const ApiRequest&, const JobView&)>;
std::function<cluster::HttpResponse(const ApiRequest&)> of_job(Coordinator& coordinator, JobHandler handle);
// A file of a job, shown in a sandbox; 404 with `missing` when it is not there.
cluster::HttpResponse job_file(const std::string& path, const std::string& type, const std::string& missing);

// The rows of each resource.
std::vector<ApiRoute> job_routes(const ApiContext& context);
std::vector<ApiRoute> job_file_routes(const ApiContext& context);    // logs, metrics, flights
std::vector<ApiRoute> job_result_routes(const ApiContext& context);  // results, report
std::vector<ApiRoute> event_routes(const ApiContext& context);
std::vector<ApiRoute> checkpoint_routes(const ApiContext& context);
std::vector<ApiRoute> page_routes(const ApiContext& context);  // the page for browsers
std::vector<ApiRoute> meta_routes(const ApiContext& context);  // health, metrics, openapi.json
std::vector<ApiRoute> all_routes(const ApiContext& context);

// A handler over `coordinator`, which must outlive the server. Without tokens of either kind none is asked, and only
// requests that name this machine's loopback are answered. kIo, kPermission: the audit log cannot be opened.
Result<cluster::HttpHandler> make_api(Coordinator& coordinator, const ApiOptions& options);

}  // namespace tephra::coordinator
