// The table of the HTTP interface. One row says where an address is, who may use it, what it takes and what it answers;
// routing, methods, the checks of parameters and the OpenAPI document all come from it, so that they cannot differ.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/http/http_server.h"
#include "coordinator/tokens.h"

namespace tephra::coordinator {

struct ApiParameter {
  enum class In { kPath, kQuery, kHeader };
  enum class Type { kString, kInteger };
  std::string name;  // a header's in lower case
  std::string about;
  In in = In::kQuery;
  Type type = Type::kString;
  std::vector<std::string> values{};  // a string is one of these; empty: any
  int64_t min = 0;                    // of an integer
  int64_t max = std::numeric_limits<int32_t>::max();
  size_t length_max = 512;  // of a string, in characters
};

ApiParameter path_parameter(const std::string& name, const std::string& about);
ApiParameter text_parameter(const std::string& name, const std::string& about);
ApiParameter choice_parameter(const std::string& name, const std::string& about, std::vector<std::string> values);
ApiParameter number_parameter(const std::string& name, const std::string& about, int64_t min = 0,
                              int64_t max = std::numeric_limits<int32_t>::max());
ApiParameter flag_parameter(const std::string& name, const std::string& about);  // "1", "true"; "0", "false"
ApiParameter header_parameter(const std::string& name, const std::string& about);

// A request whose parameters hold what the table says.
struct ApiRequest {
  const cluster::HttpRequest& http;
  std::map<std::string, std::string> path;  // by the names between braces
  Identity who;

  std::string text(const std::string& query, const std::string& fallback = "") const;
  int64_t number(const std::string& query, int64_t fallback) const;
  bool flag(const std::string& query) const;
  std::string header(const std::string& name) const;
};

struct ApiRoute {
  std::string method;  // "GET" is HEAD too
  std::string
      path;        // "/api/v1/jobs/{job}"; a segment between braces takes any one segment, percent-encoded '/' included
  std::string id;  // operationId
  std::string about;
  Role role = Role::kViewer;  // kNone: anybody
  std::vector<ApiParameter> parameters{};
  std::string body{};  // name of the request body's schema (api_schemas.h); empty: none is read
  bool body_required = false;
  int status = 200;                               // of success
  std::string content_type = "application/json";  // of success
  std::string schema{};                           // of success, for JSON
  std::vector<int> errors{};                      // beside those that follow from the row (error_statuses)
  std::function<cluster::HttpResponse(const ApiRequest&)> handle{};
};

// The error statuses that the route can answer: from its row, and its own.
std::vector<int> error_statuses(const ApiRoute& route);

// Values of the segments between braces; nothing when `path`, not yet percent-decoded, is another address.
std::optional<std::map<std::string, std::string>> match_path(const std::string& pattern, const std::string& path);

struct ParameterProblem {
  std::string field;
  std::string message;
};
// Unknown names are problems, so that a misspelt filter is not passed over.
std::vector<ParameterProblem> check_parameters(const ApiRoute& route, const cluster::HttpRequest& request);

}  // namespace tephra::coordinator
