// The few facts about UTF-8 and Python's str that tokens and templates depend on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tephra::data {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// Bytes of the character at the front of `text`; 0 when they are no valid UTF-8 (overlong forms, surrogates and code
// points past U+10FFFF are not) or `text` is empty.
size_t utf8_length(std::string_view text);

// `text` without white space at its ends, as Python's str.strip() (Unicode white space), lstrip() and rstrip().
std::string_view strip(std::string_view text);
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

// Each longest beginning of a character in bytes that are no UTF-8 becomes one U+FFFD, as Rust's from_utf8_lossy (and the
// Unicode standard's recommendation) has it; SentencePiece counts single bytes instead.
std::string replace_invalid_utf8(std::string_view text);

std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace tephra::data
