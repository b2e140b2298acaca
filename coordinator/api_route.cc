#include "coordinator/api_route.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "cluster/http/http_text.h"

namespace tephra::coordinator {
namespace {

bool parse_number(const std::string& text, int64_t* value) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && stop == text.data() + text.size();
}

std::string list(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Of UTF-8: bytes that begin one.
size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// Empty: the value holds.
std::string problem(const ApiParameter& parameter, const std::string& value) {
  if (parameter.type == ApiParameter::Type::kInteger) {
    int64_t number = 0;
    if (parse_number(value, &number) && number >= parameter.min && number <= parameter.max) return "";
    return "is no whole number from " + std::to_string(parameter.min) + " to " + std::to_string(parameter.max);
  }
  if (!parameter.values.empty() &&
      std::find(parameter.values.begin(), parameter.values.end(), value) == parameter.values.end())
    return "is none of: " + list(parameter.values);
  return characters(value) <= parameter.length_max
             ? ""
             : "is longer than " + std::to_string(parameter.length_max) + " characters";
}

}  // namespace

ApiParameter path_parameter(const std::string& name, const std::string& about) {
  return {name, about, ApiParameter::In::kPath};
}
ApiParameter text_parameter(const std::string& name, const std::string& about) { return {name, about}; }
ApiParameter choice_parameter(const std::string& name, const std::string& about, std::vector<std::string> values) {
  ApiParameter parameter{name, about};
  parameter.values = std::move(values);
  return parameter;
}
ApiParameter number_parameter(const std::string& name, const std::string& about, int64_t min, int64_t max) {
  ApiParameter parameter{name, about};
  parameter.type = ApiParameter::Type::kInteger;
  parameter.min = min;
  parameter.max = max;
  return parameter;
}
ApiParameter flag_parameter(const std::string& name, const std::string& about) {
  return choice_parameter(name, about, {"1", "true", "0", "false"});
}
ApiParameter header_parameter(const std::string& name, const std::string& about) {
  return {name, about, ApiParameter::In::kHeader};
}

std::string ApiRequest::text(const std::string& query, const std::string& fallback) const {
  const auto found = http.query.find(query);
  return found == http.query.end() ? fallback : found->second;
}

int64_t ApiRequest::number(const std::string& query, int64_t fallback) const {
  int64_t value = fallback;
  const auto found = http.query.find(query);
  return found != http.query.end() && parse_number(found->second, &value) ? value : fallback;
}

bool ApiRequest::flag(const std::string& query) const {
  const std::string value = text(query);
  return value == "1" || value == "true";
}

std::string ApiRequest::header(const std::string& name) const {
  const auto found = http.headers.find(name);
  return found == http.headers.end() ? "" : found->second;
}

std::vector<int> error_statuses(const ApiRoute& route) {
  std::set<int> statuses(route.errors.begin(), route.errors.end());
  statuses.insert({400, 429, 431});
  if (route.role != Role::kNone) statuses.insert({401, 403});
  if (route.path.starts_with("/api/")) statuses.insert({422, 503});  // an unknown parameter; shutting down
  if (route.path.find('{') != std::string::npos) statuses.insert(404);
  if (!route.body.empty()) statuses.insert({413, 415});
  return {statuses.begin(), statuses.end()};
}

std::optional<std::map<std::string, std::string>> match_path(const std::string& pattern, const std::string& path) {
  std::map<std::string, std::string> values;
  size_t a = 0, b = 0;
  while (a < pattern.size() || b < path.size()) {
    if (a >= pattern.size() || b >= path.size()) return std::nullopt;
    const size_t end_a = std::min(pattern.find('/', a + 1), pattern.size());
    const size_t end_b = std::min(path.find('/', b + 1), path.size());
    std::string part;
    if (path[b] != '/' || !cluster::percent_decode(std::string_view(path).substr(b + 1, end_b - b - 1), false, &part))
      return std::nullopt;
    const std::string wanted = pattern.substr(a + 1, end_a - a - 1);
    if (wanted.starts_with('{')) {
      if (part.empty()) return std::nullopt;
      values[wanted.substr(1, wanted.size() - 2)] = part;
    } else if (wanted != part) {
      return std::nullopt;
    }
    a = end_a;
    b = end_b;
  }
  return values;
}

std::vector<ParameterProblem> check_parameters(const ApiRoute& route, const cluster::HttpRequest& request) {
  std::vector<ParameterProblem> problems;
  std::vector<std::string> known;
  for (const ApiParameter& parameter : route.parameters) {
    if (parameter.in == ApiParameter::In::kPath) continue;  // any text: what names nothing is not found
    const auto& from = parameter.in == ApiParameter::In::kQuery ? request.query : request.headers;
    if (parameter.in == ApiParameter::In::kQuery) known.push_back(parameter.name);
    const auto found = from.find(parameter.name);
    if (found == from.end()) continue;
    const std::string wrong = problem(parameter, found->second);
    if (!wrong.empty()) problems.push_back({parameter.name, parameter.name + " " + wrong});
  }
  for (const auto& [name, value] : request.query)
    if (std::find(known.begin(), known.end(), name) == known.end())
      problems.push_back(
          {name, "there is no parameter '" + name + "'" + (known.empty() ? "" : "; there are " + list(known))});
  return problems;
}

}  // namespace tephra::coordinator
