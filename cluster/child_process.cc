#include "cluster/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

extern char** environ;

namespace tephra::cluster {
namespace {

constexpr size_t kOutputMax = 1u << 20, kInputMax = 32u << 10;

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

// posix_spawn, because fork in a process with threads leaves only async-signal-safe calls, and it does just those.
// `input` -1: /dev/null.
Result<pid_t> spawn(const std::string& path, std::vector<std::string> words, std::vector<std::string> environment,
                    int input, int output, const std::string& directory) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  if (input < 0) {
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  } else {
    posix_spawn_file_actions_adddup2(&files, input, 0);
  }
  posix_spawn_file_actions_adddup2(&files, output, 1);
  posix_spawn_file_actions_adddup2(&files, output, 2);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  if (!directory.empty()) posix_spawn_file_actions_addchdir_np(&files, directory.c_str());

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);

  pid_t pid = 0;
  const int error =
      posix_spawn(&pid, path.c_str(), &files, &attributes, pointers(words).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return Status(Code::kUnavailable, "starting " + path + ": " + std::strerror(error));
  return pid;
}

// Reads until the end of stream; false at the deadline.
bool read_all(int fd, Deadline deadline, std::string* out) {
  char buffer[4096];
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline.at - std::chrono::steady_clock::now()).count();
    pollfd descriptor{fd, POLLIN, 0};
    const int ready = ::poll(&descriptor, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 60000)));
    if (ready > 0) {
      const ssize_t n = read(fd, buffer, sizeof(buffer));
      if (n <= 0) return true;
      if (out->size() < kOutputMax) out->append(buffer, static_cast<size_t>(n));
    } else if (deadline.passed()) {
      return false;
    }
  }
}

}  // namespace

std::string find_program(const std::string& name) {
  auto runnable = [](const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string::npos) return runnable(name) ? std::filesystem::absolute(name).string() : "";
  // PATH belongs to starting programs, not to our configuration.
  std::string_view path = getenv("PATH") ? getenv("PATH") : "/usr/local/bin:/usr/bin:/bin";
  while (!path.empty()) {
    const size_t end = std::min(path.find(':'), path.size());
    const std::string candidate = std::string(path.substr(0, end)) + "/" + name;
    if (end > 0 && runnable(candidate)) return candidate;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return "";
}

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& changes,
                                            const std::vector<std::string>& withheld) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string name(text.substr(0, text.find('=')));
    if (!changes.contains(name) && std::find(withheld.begin(), withheld.end(), name) == withheld.end())
      merged.emplace_back(text);
  }
  for (const auto& [name, value] : changes) merged.push_back(name + "=" + value);
  return merged;
}

Result<pid_t> spawn_session(const std::string& path, std::vector<std::string> words,
                            std::vector<std::string> environment, int output, const std::string& directory) {
  return spawn(path, std::move(words), std::move(environment), -1, output, directory);
}

Result<Captured> run_captured(std::vector<std::string> words, const std::map<std::string, std::string>& environment,
                              std::string_view input, Deadline deadline, const std::vector<std::string>& withheld) {
  TEPHRA_CHECK(!words.empty() && input.size() <= kInputMax,
               "run_captured: no command, or more input than a pipe holds");
  const std::string path = find_program(words[0]);
  if (path.empty()) return Status(Code::kUnavailable, RetryClass::kNeedsOperator, words[0] + " was not found");
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0) return errno_status(errno, "pipe");
  if (pipe2(out, O_CLOEXEC) != 0) {
    close(in[0]), close(in[1]);
    return errno_status(errno, "pipe");
  }
  // Written before the child is there: it fits the pipe, so a child that reads nothing cannot block or signal us.
  const bool written = write(in[1], input.data(), input.size()) == static_cast<ssize_t>(input.size());
  close(in[1]);
  const std::string name = words[0];
  const Result<pid_t> pid = spawn(path, std::move(words), merged_environment(environment, withheld), in[0], out[1], "");
  close(in[0]);
  close(out[1]);
  Captured captured;
  const bool ended = pid.ok() && read_all(out[0], deadline, &captured.output);
  close(out[0]);
  if (!pid.ok()) return pid.status();
  if (!ended) kill(-*pid, SIGKILL);  // its session, and so what it started
  int status = 0;
  waitpid(*pid, &status, 0);
  if (!ended) return Status(Code::kTimeout, name + " did not end in time");
  if (!written) return Status(Code::kIo, "writing to " + name);
  captured.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return captured;
}

}  // namespace tephra::cluster
