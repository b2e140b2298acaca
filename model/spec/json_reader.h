// A JSON object with its place, for loaders: typed fields with defaults, and failures that name file and key. Private
// to model/spec.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"

namespace tephra::model {

class JsonReader {
 public:
  // kNotFound without the file, kInvalidArgument when it is not a JSON object.
  static Result<JsonReader> open(const std::string& path);

  const nlohmann::json& json() const { return value_; }
  const std::string& path() const { return path_; }
  std::string place() const;  // "DIR/config.json: text_config"
  bool has(const char* key) const { return value_.contains(key) && !value_[key].is_null(); }
  JsonReader child(const char* key) const;  // the object at `key`, or an empty one

  // Leave `out` as it is when the key is absent or null. A value of another type is noted and reported by status().
  JsonReader& get(const char* key, int64_t& out);
  JsonReader& get(const char* key, double& out);
  JsonReader& get(const char* key, std::string& out);
  JsonReader& get(const char* key, bool& out);

  const Status& status() const { return status_; }  // the first failure
  Status error(const std::string& key, const std::string& what) const;

 private:
  JsonReader(std::string path, std::string prefix, nlohmann::json value)
      : path_(std::move(path)), prefix_(std::move(prefix)), value_(std::move(value)) {}
  void note(const char* key, const char* wanted);

  std::string path_, prefix_;
  nlohmann::json value_;
  Status status_;
};

}  // namespace tephra::model
