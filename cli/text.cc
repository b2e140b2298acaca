#include "cli/text.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/clock.h"

namespace tephra::cli {

std::string human_duration(double seconds) {
  auto s = static_cast<int64_t>(std::llround(std::max(0.0, seconds)));
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3600) return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
  return std::to_string(s / 3600) + " h " + std::to_string(s % 3600 / 60) + " min";
}

std::string human_count(double n) {
  std::string digits = std::to_string(static_cast<int64_t>(std::llround(n)));
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > (digits[0] == '-' ? 1 : 0); at -= 3)
    digits.insert(at, ",");
  return digits;
}

std::string age(int64_t unix_ms) {
  if (unix_ms <= 0) return "-";
  int64_t s = std::max<int64_t>(0, (Clock::system().unix_ms() - unix_ms) / 1000);
  if (s < 60) return std::to_string(s) + " s ago";
  if (s < 3600) return std::to_string(s / 60) + " min ago";
  if (s < 86400) return std::to_string(s / 3600) + " h ago";
  return std::to_string(s / 86400) + " d ago";
}

bool is_terminal(int fd) { return isatty(fd) == 1; }

bool colour_allowed(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return is_terminal(fd) && (no_color == nullptr || *no_color == '\0');
}

std::string paint(const std::string& text, Colour colour) {
  if (!colour_allowed(STDOUT_FILENO)) return text;
  static constexpr const char* kCodes[] = {"2", "1", "31", "32", "33", "36"};
  return std::string("\033[") + kCodes[static_cast<int>(colour)] + "m" + text + "\033[0m";
}

int terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 100;
}

std::string bar(double share, int width) {
  int full = static_cast<int>(share * width + 0.5);
  std::string out = "[";
  for (int i = 0; i < width; ++i) out += i < full ? '#' : '.';
  return out + "]";
}

std::string table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> width;
  for (const std::string& cell : header) width.push_back(cell.size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  auto line = [&](const std::vector<std::string>& cells, bool is_header) {
    std::string out;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) out += "  ";
      bool number = !is_header && !cells[i].empty() &&
                    (std::isdigit(static_cast<unsigned char>(cells[i][0])) || cells[i][0] == '-');
      std::string pad(width[i] - cells[i].size(), ' ');
      out += number ? pad + cells[i] : cells[i] + pad;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out + "\n";
  };
  std::string out = line(header, true);
  for (const auto& row : rows) out += line(row, false);
  return out;
}

}  // namespace tephra::cli
