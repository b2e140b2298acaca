#include "recipes/difference.h"

#include <map>
#include <nlohmann/json.hpp>

namespace tephra::recipes {
namespace {

using Json = nlohmann::ordered_json;

struct Leaves {
  std::vector<std::string> order;
  std::map<std::string, std::string> values;
};

void collect(const Json& node, const std::string& path, Leaves* out) {
  if (node.is_object() && !node.empty()) {
    for (const auto& [key, value] : node.items()) collect(value, path.empty() ? key : path + "." + key, out);
  } else if (node.is_array() && !node.empty() && (node[0].is_object() || node[0].is_array())) {
    for (size_t i = 0; i < node.size(); ++i) collect(node[i], path + "[" + std::to_string(i) + "]", out);
  } else if (!path.empty()) {
    out->order.push_back(path);
    out->values[path] = node.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

Leaves leaves_of(const std::string& text) {
  Leaves leaves;
  const Json document = Json::parse(text, nullptr, false);
  if (document.is_object()) collect(document, "", &leaves);
  return leaves;
}

}  // namespace

std::vector<FieldDifference> differences(const std::string& before_json, const std::string& after_json) {
  const Leaves before = leaves_of(before_json), after = leaves_of(after_json);
  std::vector<FieldDifference> out;
  for (const std::string& field : after.order) {
    const auto found = before.values.find(field);
    const std::string& now = after.values.at(field);
    if (found == before.values.end())
      out.push_back({field, "-", now});
    else if (found->second != now)
      out.push_back({field, found->second, now});
  }
  for (const std::string& field : before.order)
    if (!after.values.contains(field)) out.push_back({field, before.values.at(field), "-"});
  return out;
}

}  // namespace tephra::recipes
