#include "coordinator/api_openapi.h"

#include "base/version.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

json schema_of(const ApiParameter& parameter) {
  if (parameter.type == ApiParameter::Type::kInteger)
    return {{"type", "integer"}, {"minimum", parameter.min}, {"maximum", parameter.max}};
  json schema = {{"type", "string"}};
  if (!parameter.values.empty())
    schema["enum"] = parameter.values;
  else
    schema["maxLength"] = parameter.length_max;
  if (parameter.in == ApiParameter::In::kPath) schema["minLength"] = 1;
  return schema;
}

json parameters_of(const ApiRoute& route) {
  constexpr const char* kPlaces[] = {"path", "query", "header"};
  json rows = json::array();
  for (const ApiParameter& parameter : route.parameters) {
    json row = {{"name", parameter.name},
                {"in", kPlaces[static_cast<int>(parameter.in)]},
                {"description", parameter.about},
                {"schema", schema_of(parameter)}};
    if (parameter.in == ApiParameter::In::kPath) row["required"] = true;
    rows.push_back(std::move(row));
  }
  return rows;
}

json reference(const std::string& schema) { return {{"$ref", "#/components/schemas/" + schema}}; }

json responses_of(const ApiRoute& route) {
  json content = json::object();
  content[route.content_type] = json::object();
  if (!route.schema.empty())
    content[route.content_type]["schema"] = reference(route.schema);
  else if (route.content_type != "text/event-stream")  // a schema would be taken for one of each event
    content[route.content_type]["schema"] = {{"type", "string"}};
  json responses = {{std::to_string(route.status), {{"description", route.about}, {"content", content}}}};
  for (const int status : error_statuses(route))
    responses[std::to_string(status)] = {{"$ref", "#/components/responses/Error"}};
  return responses;
}

}  // namespace

json openapi_document(const std::vector<ApiRoute>& routes) {
  json document = {
      {"openapi", "3.1.0"},
      {"info",
       {{"title", "Tephra"},
        {"version", kVersion},
        {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}},
        {"description", "Jobs, checkpoints and reports of a Tephra coordinator. docs/api.md explains it."}}},
      {"components",
       {{"schemas", json::parse(kApiSchemas)},
        {"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}},
        {"responses",
         {{"Error",
           {{"description", "What was wrong, and what to do"},
            {"content", {{"application/json", {{"schema", reference("Error")}}}}}}}}}}},
      {"paths", json::object()}};
  for (const ApiRoute& route : routes) {
    json operation = {{"operationId", route.id}, {"summary", route.about}, {"responses", responses_of(route)}};
    if (!route.parameters.empty()) operation["parameters"] = parameters_of(route);
    if (!route.body.empty())
      operation["requestBody"] = {{"required", route.body_required},
                                  {"content", {{"application/json", {{"schema", reference(route.body)}}}}}};
    operation["security"] = json::array();
    if (route.role != Role::kNone) operation["security"].push_back({{"token", json::array()}});
    operation["x-tephra-role"] = role_name(route.role);
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    document["paths"][route.path][method] = std::move(operation);
  }
  return document;
}

}  // namespace tephra::coordinator
