#include "cluster/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>
#include <sstream>

namespace tephra::cluster {
namespace {

std::string read_proc(int64_t pid, const char* file) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + file;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text;
  char buffer[8192];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
  close(fd);
  return text;
}

std::vector<int64_t> all_pids() {
  std::vector<int64_t> pids;
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return pids;
  while (const dirent* entry = readdir(proc)) {
    int64_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (auto [at, error] = std::from_chars(entry->d_name, end, pid); error == std::errc() && at == end)
      pids.push_back(pid);
  }
  closedir(proc);
  return pids;
}

bool has_marker(int64_t pid, const std::string& marker) {
  // Entries end in NUL; one put before the first lets every entry be matched from its beginning.
  const std::string environment = std::string(1, '\0') + read_proc(pid, "environ");
  return environment.find(std::string(1, '\0') + marker + std::string(1, '\0')) != std::string::npos;
}

}  // namespace

std::optional<ProcessInfo> read_process(int64_t pid) {
  const std::string stat = read_proc(pid, "stat");
  // "PID (NAME) STATE PPID ...", where NAME may hold anything, parentheses too: so the last ')' counts.
  const size_t open = stat.find('('), close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  ProcessInfo info;
  info.pid = pid;
  info.name = stat.substr(open + 1, close - open - 1);
  std::istringstream rest(stat.substr(close + 1));
  rest >> info.state >> info.parent;
  std::string skipped;
  for (int field = 5; field < 22; ++field) rest >> skipped;  // starttime is field 22 of proc(5)
  rest >> info.start_ticks;
  return rest ? std::optional(info) : std::nullopt;
}

std::vector<ProcessInfo> find_processes(const std::string& marker, int64_t root) {
  std::vector<ProcessInfo> all;
  for (int64_t pid : all_pids()) {
    if (auto info = read_process(pid)) all.push_back(*info);
  }
  std::set<int64_t> members;
  if (root > 0) members.insert(root);
  for (const ProcessInfo& p : all) {
    if (p.pid != getpid() && p.alive() && has_marker(p.pid, marker)) members.insert(p.pid);
  }
  for (bool grew = true; grew;) {  // children of members are members
    grew = false;
    for (const ProcessInfo& p : all) {
      if (members.contains(p.parent)) grew |= members.insert(p.pid).second;
    }
  }
  std::erase_if(all, [&](const ProcessInfo& p) { return !p.alive() || !members.contains(p.pid); });
  return all;
}

void kill_process(const ProcessInfo& process) {
  // A pidfd is taken first and the start time compared after it, so that the signal cannot reach a process that got the
  // number in between.
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0));
  if (fd < 0) return;
  const auto now = read_process(process.pid);
  if (now && now->start_ticks == process.start_ticks) syscall(SYS_pidfd_send_signal, fd, SIGKILL, nullptr, 0);
  close(fd);
}

}  // namespace tephra::cluster
