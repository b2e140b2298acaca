// Files of JSON objects, one a line, or one JSON array of them: both are common for benches' answers.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"

namespace tephra::eval {

// The objects of `path` in their order. kInvalidArgument with the line (or entry) for what is not an object; `format` says what the
// file should hold.
Result<std::vector<nlohmann::ordered_json>> read_json_objects(const std::string& path, const std::string& format);

// An id as text: "7" for 7 and for "7". Empty when `key` is absent or neither text nor a number.
std::string id_of(const nlohmann::ordered_json& object, const char* key);
// A text field; empty when absent or no text.
std::string text_of(const nlohmann::ordered_json& object, const char* key);

}  // namespace tephra::eval
