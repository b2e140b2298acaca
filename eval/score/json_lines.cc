#include "eval/score/json_lines.h"

#include <sstream>

#include "base/env.h"

namespace tephra::eval {

using Json = nlohmann::ordered_json;

Result<std::vector<Json>> read_json_objects(const std::string& path, const std::string& format) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  const auto bad = [&](const std::string& place) {
    return Status(Code::kInvalidArgument, path + ":" + place + " is not a JSON object; the file should hold " + format);
  };
  std::vector<Json> out;
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && text[first] == '[') {
    Json all = Json::parse(text, nullptr, false);
    if (!all.is_array()) return Status(Code::kInvalidArgument, path + ": is not JSON; it should hold " + format);
    for (size_t i = 0; i < all.size(); ++i) {
      if (!all[i].is_object()) return bad(" entry " + std::to_string(i));
      out.push_back(std::move(all[i]));
    }
    return out;
  }
  std::istringstream lines(text);
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json object = Json::parse(line, nullptr, false);
    if (!object.is_object()) return bad(std::to_string(number) + ":");
    out.push_back(std::move(object));
  }
  return out;
}

std::string id_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return found->is_number() ? found->dump() : "";
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace tephra::eval
