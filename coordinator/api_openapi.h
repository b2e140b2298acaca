// The OpenAPI 3.1 document of a table of routes, and the schemas that its rows name.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "coordinator/api_route.h"

namespace tephra::coordinator {

extern const std::string_view kApiSchemas;  // JSON: the document's components.schemas

nlohmann::json openapi_document(const std::vector<ApiRoute>& routes);

}  // namespace tephra::coordinator
