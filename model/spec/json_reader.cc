#include "model/spec/json_reader.h"

#include "base/env.h"

namespace tephra::model {

Result<JsonReader> JsonReader::open(const std::string& path) {
  if (!Env::posix().exists(path))
    return Status(Code::kNotFound, path + " does not exist; a model's folder in Hugging Face's layout has it");
  TEPHRA_ASSIGN_OR_RETURN(std::string text, read_file(Env::posix(), path));
  nlohmann::json value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded() || !value.is_object())
    return Status(Code::kInvalidArgument, path + " is not a JSON object; the file is damaged or of another kind");
  return JsonReader(path, "", std::move(value));
}

JsonReader JsonReader::child(const char* key) const {
  nlohmann::json value = has(key) && value_[key].is_object() ? value_[key] : nlohmann::json::object();
  JsonReader reader(path_, prefix_ + key + ".", std::move(value));
  if (has(key) && !value_[key].is_object()) reader.status_ = error(key, "is not an object");
  return reader;
}

std::string JsonReader::place() const {
  return prefix_.empty() ? path_ : path_ + ": " + prefix_.substr(0, prefix_.size() - 1);
}

Status JsonReader::error(const std::string& key, const std::string& what) const {
  return {Code::kInvalidArgument, path_ + ": " + prefix_ + key + " " + what};
}

void JsonReader::note(const char* key, const char* wanted) {
  if (status_.ok()) status_ = error(key, "is " + value_[key].dump() + ", not " + wanted);
}

JsonReader& JsonReader::get(const char* key, int64_t& out) {
  if (!has(key)) return *this;
  // Some files list several ids (eos_token_id: [2, 32000]); the first is the one that ends a text.
  const nlohmann::json& value = value_[key].is_array() && !value_[key].empty() ? value_[key][0] : value_[key];
  if (value.is_number_integer())
    out = value.get<int64_t>();
  else
    note(key, "a whole number");
  return *this;
}

JsonReader& JsonReader::get(const char* key, double& out) {
  if (!has(key)) return *this;
  if (value_[key].is_number())
    out = value_[key].get<double>();
  else
    note(key, "a number");
  return *this;
}

JsonReader& JsonReader::get(const char* key, std::string& out) {
  if (!has(key)) return *this;
  if (value_[key].is_string())
    out = value_[key].get<std::string>();
  else
    note(key, "a text");
  return *this;
}

JsonReader& JsonReader::get(const char* key, bool& out) {
  if (!has(key)) return *this;
  if (value_[key].is_boolean())
    out = value_[key].get<bool>();
  else
    note(key, "true or false");
  return *this;
}

}  // namespace tephra::model
