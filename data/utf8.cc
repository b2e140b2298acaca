#include "data/utf8.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace tephra::data {
namespace {

uint8_t byte_at(std::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// Code point of a valid character of `length` bytes.
uint32_t code_point(std::string_view text, size_t length) {
  if (length == 1) return byte_at(text, 0);
  uint32_t value = byte_at(text, 0) & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) value = value << 6 | (byte_at(text, i) & 0x3F);
  return value;
}

// What Python's str.isspace says.
bool is_space(uint32_t c) {
  if (c >= 0x09 && c <= 0x0D) return true;
  if (c >= 0x1C && c <= 0x20) return true;
  if (c >= 0x2000 && c <= 0x200A) return true;
  static constexpr uint32_t kOthers[] = {0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  return std::find(std::begin(kOthers), std::end(kOthers), c) != std::end(kOthers);
}

}  // namespace

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  uint8_t first = byte_at(text, 0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte_at(text, i) & 0xC0) != 0x80) return 0;
  }
  uint32_t c = code_point(text, length);
  if (length == 3 && (c < 0x800 || (c >= 0xD800 && c <= 0xDFFF))) return 0;
  if (length == 4 && (c < 0x10000 || c > 0x10FFFF)) return 0;
  return length;
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    size_t length = utf8_length(text);
    if (length == 0 || !is_space(code_point(text, length))) break;
    text.remove_prefix(length);
  }
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && text.size() - start < 4 && (byte_at(text, start) & 0xC0) == 0x80) --start;
    std::string_view last = text.substr(start);
    size_t length = utf8_length(last);
    if (length != last.size() || !is_space(code_point(last, length))) break;
    text.remove_suffix(length);
  }
  return text;
}

std::string_view strip(std::string_view text) { return strip_right(strip_left(text)); }

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (const size_t length = utf8_length(text); length > 0) {
      out += text.substr(0, length);
      text.remove_prefix(length);
      continue;
    }
    const uint8_t first = byte_at(text, 0);
    size_t begun = 1;
    if (first >= 0xC2 && first <= 0xF4) {
      const size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
      // The second byte's bounds keep out overlong forms, surrogates and what lies past U+10FFFF.
      uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
      uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
      while (begun < wanted && begun < text.size() && byte_at(text, begun) >= low && byte_at(text, begun) <= high) {
        ++begun;
        low = 0x80;
        high = 0xBF;
      }
    }
    out += kReplacement;
    text.remove_prefix(begun);
  }
  return out;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t start = 0;
  for (;;) {
    size_t at = text.find(from, start);
    out += text.substr(start, at - start);
    if (at == std::string_view::npos) return out;
    out += to;
    start = at + from.size();
  }
}

}  // namespace tephra::data
