// Numbers, pictures and text as the report writes them.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>

#include "base/env.h"
#include "eval/score/report_view.h"

namespace tephra::eval {
namespace {

std::string base64(std::span<const std::byte> bytes) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t have = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) word = word << 8 | (j < have ? std::to_integer<uint32_t>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; ++j) out += j <= have ? digits[word >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

}  // namespace

std::string fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

std::string grouped(int64_t value) {
  std::string digits = std::to_string(value < 0 ? -value : value);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return (value < 0 ? "-" : "") + digits;
}

std::string duration_text(double seconds) {
  if (seconds < 60) return fixed(seconds, 1) + " s";
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  char buffer[48];
  if (whole < 3600)
    std::snprintf(buffer, sizeof buffer, "%lld min %02lld s", static_cast<long long>(whole / 60),
                  static_cast<long long>(whole % 60));
  else
    std::snprintf(buffer, sizeof buffer, "%lld h %02lld min", static_cast<long long>(whole / 3600),
                  static_cast<long long>(whole % 3600 / 60));
  return buffer;
}

std::string compact(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, std::abs(value) >= 1000 ? "%.0f" : "%.3g", value);
  return buffer;
}

Result<std::string> picture_data_uri(const std::string& path, int64_t size_bytes_max) {
  TEPHRA_ASSIGN_OR_RETURN(auto file, Env::posix().open(path));
  const auto size_bytes = file->size_bytes();
  if (size_bytes > static_cast<uint64_t>(size_bytes_max))
    return Status(Code::kInvalidArgument, path + " has " + std::to_string(size_bytes) + " bytes and is not embedded");
  std::vector<std::byte> bytes(size_bytes);
  TEPHRA_RETURN_IF_ERROR(file->read_at(0, bytes));
  const auto starts_with = [&](std::string_view magic) {
    if (bytes.size() < magic.size()) return false;
    for (size_t i = 0; i < magic.size(); ++i)
      if (std::to_integer<unsigned char>(bytes[i]) != static_cast<unsigned char>(magic[i])) return false;
    return true;
  };
  const char* type = starts_with("\x89PNG") ? "png" : starts_with("\xff\xd8\xff") ? "jpeg" : nullptr;
  if (type == nullptr) return Status(Code::kUnsupported, path + " is neither PNG nor JPEG");
  return std::string("data:image/") + type + ";base64," + base64(bytes);
}

std::string html_escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        // Control characters mean nothing in HTML and some are parse errors.
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t')
          out += c;
        else
          out += "\xef\xbf\xbd";
    }
  }
  return out;
}

}  // namespace tephra::eval
