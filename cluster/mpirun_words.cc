#include "cluster/mpirun_words.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace tephra::cluster {
namespace {

std::string signal_words(int signal) {
  const char* words = strsignal(signal);
  return "signal " + std::to_string(signal) + (words ? " (" + std::string(words) + ")" : "");
}

// Number that follows `words` in `text`, the last time that they occur; -1 if they do not.
int number_after(const std::string& text, const std::string& words) {
  const size_t at = text.rfind(words);
  return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + words.size());
}

// The word after `words` in `text`, the last time that they occur; empty if they do not.
std::string word_after(const std::string& text, const std::string& words) {
  const size_t at = text.rfind(words);
  if (at == std::string::npos) return "";
  const size_t begin = text.find_first_not_of(' ', at + words.size());
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_first_of(" \n.", begin) - begin);
}

}  // namespace

std::string lost_host(const std::string& tail) {
  const size_t at = tail.rfind("Remote daemon:");
  return at == std::string::npos ? "" : word_after(tail.substr(at, tail.find('\n', at) - at), " on node ");
}

ExitInfo describe_mpirun_exit(int status, const std::string& tail, const std::string& log_path) {
  if (WIFSIGNALED(status)) {
    return {128 + WTERMSIG(status), WTERMSIG(status), "mpirun ended by " + signal_words(WTERMSIG(status))};
  }
  ExitInfo info;
  info.code = WEXITSTATUS(status);
  if (info.code == 0) return {0, 0, "all ranks ended with exit code 0"};
  const int lost = number_after(tail, "noticed that process rank ");
  const int failed = number_after(tail, ",1],");  // "Process name: [[60523,1],1]" of the exit-code report
  if (info.code > 128 && info.code < 128 + NSIG) {
    info.signal = info.code - 128;
    info.description =
        (lost >= 0 ? "rank " + std::to_string(lost) : std::string("a rank")) + " ended by " + signal_words(info.signal);
  } else if (const std::string host = lost_host(tail); !host.empty()) {
    info.description = "host " + host + " was lost: mpirun's daemon there does not answer any more";
  } else if (tail.find("unable to reliably start one or more daemons") != std::string::npos) {
    info.description = "mpirun could not start its daemon on every host";
  } else if (tail.find("not enough slots") != std::string::npos) {
    info.description = "mpirun found too few slots for the ranks";
  } else if (tail.find("non-zero exit code") != std::string::npos && failed >= 0) {
    info.description = "rank " + std::to_string(failed) + " ended with exit code " + std::to_string(info.code);
  } else {
    // A rank's code or mpirun's own: its report, which tells them apart, is missing about one time in five.
    info.description = "a rank or mpirun ended with exit code " + std::to_string(info.code);
  }
  info.description += "; its output is in " + log_path;
  return info;
}

std::string read_tail(const std::string& path, int64_t offset) {
  constexpr int64_t kTailBytes = 16384;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  const auto size = static_cast<int64_t>(file.tellg());
  const int64_t begin = std::max({offset, size - kTailBytes, int64_t{0}});
  if (begin >= size) return {};
  std::string text(static_cast<size_t>(size - begin), '\0');
  file.seekg(begin);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

}  // namespace tephra::cluster
