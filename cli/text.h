// Words and numbers for people: tables, sizes, times, and whether a stream is a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/text.h"

namespace tephra::cli {

using tephra::fixed;
using tephra::human_bytes;
std::string human_duration(double seconds);  // "3 m 12 s"
std::string human_count(double n);           // "12,345"
std::string age(int64_t unix_ms);            // "2 min ago"

bool is_terminal(int fd);
bool colour_allowed(int fd);  // a terminal, and NO_COLOR is not set
// `text` in that colour where colour_allowed(stdout); else as it is.
enum class Colour { kDim, kBold, kRed, kGreen, kYellow, kCyan };
std::string paint(const std::string& text, Colour colour);
int terminal_width();  // columns of stdout's terminal; 100 without one

std::string bar(double share, int width);  // "[####....]"

// Columns padded to their widest cell, two spaces between; numbers (cells that start with a digit or '-') to the right. Rows may be
// shorter than the header.
std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows);

}  // namespace tephra::cli
