#include "recipes/gate.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace tephra::recipes {
namespace {

// "0.45" or "45%".
std::optional<double> number(const std::string& word) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  const std::string rest = end;
  if (word.empty() || end == word.c_str() || !std::isfinite(value) || (!rest.empty() && rest != "%"))
    return std::nullopt;
  return rest == "%" ? value / 100 : value;
}

std::string written(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", value);
  return buffer;
}

}  // namespace

Result<Gate> parse_gate(const std::string& text) {
  const auto bad = [&](const std::string& what) { return Status(Code::kInvalidArgument, "'" + text + "': " + what); };
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;) words.push_back(word);
  if (words.size() < 3) return bad("a gate is BENCH.METRIC, a comparison and a bar");
  Gate gate;
  const size_t dot = words[0].rfind('.');
  if (dot == std::string::npos || dot == 0 || dot + 1 == words[0].size())
    return bad("'" + words[0] + "' is not BENCH.METRIC");
  gate.bench = words[0].substr(0, dot);
  gate.metric = words[0].substr(dot + 1);
  gate.comparison = words[1];
  if (gate.comparison != ">=" && gate.comparison != ">" && gate.comparison != "<=" && gate.comparison != "<")
    return bad("'" + gate.comparison + "' is no comparison; there are >=, >, <= and <");
  size_t next = 3;
  if (words[2] == "previous") {
    gate.previous = true;
  } else if (const auto bar = number(words[2])) {
    gate.margin = *bar;
  } else {
    return bad("'" + words[2] + "' is neither a number nor previous");
  }
  for (; next < words.size(); next += 2) {
    if (!gate.previous) return bad("only previous can be added to");
    const double sign = words[next] == "+" ? 1 : words[next] == "-" ? -1 : 0;
    if (sign == 0 || next + 1 == words.size()) return bad("behind previous stands + or - and a number or ci");
    if (words[next + 1] == "ci") {
      gate.ci += sign;
    } else if (const auto margin = number(words[next + 1])) {
      gate.margin += sign * *margin;
    } else {
      return bad("'" + words[next + 1] + "' is neither a number nor ci");
    }
  }
  return gate;
}

GateOutcome judge_gate(const Gate& gate, std::optional<double> value, std::optional<double> before, double ci) {
  const std::string name = gate.bench + "." + gate.metric;
  if (!value) return {false, name + " was not measured: failed"};
  if (gate.previous && !before)
    return {true, name + " " + written(*value) + ": passed, as no earlier stage has it to compare with"};
  const double bar = gate.margin + (gate.previous ? *before : 0) + gate.ci * ci;
  const bool passed = gate.comparison == ">="  ? *value >= bar
                      : gate.comparison == ">" ? *value > bar
                      : gate.comparison == "<" ? *value < bar
                                               : *value <= bar;
  std::string from;
  if (gate.previous) {
    from = " (previous " + written(*before);
    if (gate.margin != 0) from += (gate.margin > 0 ? " + " : " - ") + written(std::abs(gate.margin));
    if (gate.ci != 0) from += (gate.ci > 0 ? " + ci " : " - ci ") + written(std::abs(gate.ci) * ci);
    from += ")";
  }
  return {passed, name + " " + written(*value) + " " + gate.comparison + " " + written(bar) + from + ": " +
                      (passed ? "passed" : "failed")};
}

}  // namespace tephra::recipes
