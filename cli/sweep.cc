#include "cli/sweep.h"

namespace tephra::cli {
namespace {

constexpr size_t kCombinationsMax = 1000;

std::vector<std::string> split_values(const std::string& text) {
  std::vector<std::string> values{""};
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    }
    if (c == ',' && depth <= 0 && quote == 0) {
      values.emplace_back();
    } else {
      values.back() += c;
    }
  }
  return values;
}

}  // namespace

Result<std::vector<std::vector<std::string>>> expand_sweeps(const std::vector<std::string>& sweeps) {
  std::vector<std::vector<std::string>> all{{}};
  for (const std::string& sweep : sweeps) {
    const size_t equals = sweep.find('=');
    if (equals == std::string::npos || equals == 0)
      return Status(Code::kInvalidArgument, "--sweep " + sweep + ": write FIELD=VALUE,VALUE");
    const std::string field = sweep.substr(0, equals);
    std::vector<std::vector<std::string>> longer;
    const std::vector<std::string> values = split_values(sweep.substr(equals + 1));
    if (all.size() * values.size() > kCombinationsMax)
      return Status(Code::kInvalidArgument, "--sweep: more than " + std::to_string(kCombinationsMax) + " combinations");
    for (const std::vector<std::string>& before : all)
      for (const std::string& value : values) {
        if (value.empty()) return Status(Code::kInvalidArgument, "--sweep " + sweep + ": a value is empty");
        longer.push_back(before);
        longer.back().push_back(field + "=" + value);
      }
    all = std::move(longer);
  }
  return all;
}

}  // namespace tephra::cli
