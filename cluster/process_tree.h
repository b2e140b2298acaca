// Processes of this machine as /proc shows them: enough to find a gang and to be sure that nothing of it is left.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tephra::cluster {

struct ProcessInfo {
  int64_t pid = 0;
  int64_t parent = 0;
  char state = '?';          // of /proc/PID/stat; 'Z' and 'X' are dead
  uint64_t start_ticks = 0;  // since boot; with the pid it names one process for good
  std::string name;

  bool alive() const { return state != 'Z' && state != 'X'; }
};

std::optional<ProcessInfo> read_process(int64_t pid);  // nothing when there is no such process

// Living processes whose environment at their start held NAME=value `marker`, and living descendants of `root` (0:
// none), with `root` itself. Processes of other users are found by descent only.
std::vector<ProcessInfo> find_processes(const std::string& marker, int64_t root);

// SIGKILL, unless the pid belongs to another process by now.
void kill_process(const ProcessInfo& process);

}  // namespace tephra::cluster
