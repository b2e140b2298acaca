#include "eval/score/answer_file.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace tephra::eval {

std::map<std::string, std::string> read_answers(const std::string& path) {
  std::map<std::string, std::string> answers;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("id") || !row.contains("text")) continue;
    if (row["id"].is_string() && row["text"].is_string()) answers[row["id"]] = row["text"];
  }
  return answers;
}

std::set<std::string> answered_keys(const std::string& path) {
  std::set<std::string> keys;
  for (const auto& [key, text] : read_answers(path)) keys.insert(key);
  return keys;
}

}  // namespace tephra::eval
