#include "recipes/quantity.h"

#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

namespace tephra::recipes {
namespace {

constexpr double kMsMax = 100.0 * 365 * 86400 * 1000;
constexpr double kBytesMax = 1152921504606846976.0;  // 2^60

// The number in front and the unit behind it, "" when there is none.
std::optional<std::pair<double, std::string_view>> split(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || !(number > 0)) return std::nullopt;
  return std::pair(number, std::string_view(rest, static_cast<size_t>(end - rest)));
}

template <size_t N>
std::optional<double> scaled(const std::string& text, const std::pair<const char*, double> (&units)[N],
                             double largest) {
  const auto parts = split(text);
  if (!parts) return std::nullopt;
  for (const auto& [unit, factor] : units) {
    if (parts->second != unit) continue;
    const double value = parts->first * factor;
    return value >= 1 && value < largest ? std::optional<double>(value) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> parse_duration_ms(const std::string& text) {
  static constexpr std::pair<const char*, double> kUnits[] = {{"s", 1e3}, {"min", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
  if (text.find('.') != std::string::npos) return std::nullopt;
  const auto value = scaled(text, kUnits, kMsMax);
  return value ? std::optional<int64_t>(static_cast<int64_t>(*value)) : std::nullopt;
}

std::optional<uint64_t> parse_bytes(const std::string& text) {
  static constexpr std::pair<const char*, double> kUnits[] = {
      {"", 1},      {"B", 1},        {"kB", 1e3},        {"MB", 1e6},           {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0}};
  const auto value = scaled(text, kUnits, kBytesMax);
  return value ? std::optional<uint64_t>(static_cast<uint64_t>(*value)) : std::nullopt;
}

}  // namespace tephra::recipes
