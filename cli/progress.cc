#include "cli/progress.h"

#include <unistd.h>

#include <cstdio>

#include "cli/text.h"

namespace tephra::cli {

std::string progress_text(uint64_t done, uint64_t total, const std::string& what, double elapsed_s, uint64_t earlier) {
  const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
  std::string out = bar(share, 20) + " " + fixed(100 * share, 0) + " %  " + human_count(static_cast<double>(done)) +
                    " of " + human_count(static_cast<double>(total)) + " " + what;
  if (done > earlier && done < total)
    out +=
        "  ETA " + human_duration(elapsed_s / static_cast<double>(done - earlier) * static_cast<double>(total - done));
  return out;
}

Progress::~Progress() {
  if (open_) std::fprintf(stderr, "\n");
}

void Progress::show(uint64_t done, uint64_t total, uint64_t earlier, const std::string& more) {
  const auto now = std::chrono::steady_clock::now();
  const bool terminal = is_terminal(STDERR_FILENO);
  const int tenth = total == 0 ? 10 : static_cast<int>(10 * done / total);
  if (terminal ? done < total && now - drawn_ < std::chrono::milliseconds(100) : tenth == last_tenth_) return;
  drawn_ = now;
  last_tenth_ = tenth;
  const std::string text =
      progress_text(done, total, what_, std::chrono::duration<double>(now - begin_).count(), earlier) + more;
  std::fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", text.c_str());
  std::fflush(stderr);
  open_ = terminal;
}

}  // namespace tephra::cli
