// Two hosts of one machine: network namespaces joined by a pair of virtual interfaces, each with a host name and, the
// second, with processes of its own (a PID namespace), so that what runs there is reached through the remote shell only.
// Needs root and ip(8).
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "cluster/launcher.h"

namespace tephra::cluster {

class TwoHosts {
 public:
  // `directory`: where the host file, the remote shell and a stand-in for mpirun on the first host are put; `slots`: of
  // each host. Null: this machine cannot, and `why_not` says why.
  static std::unique_ptr<TwoHosts> make(const std::string& directory, int slots, std::string* why_not);
  ~TwoHosts();

  // What a launcher on this machine needs to start mpirun on the first host; depends on the folder only.
  static LauncherOptions options(const std::string& directory);
  // To be put before a command that shall run on the first host.
  std::vector<std::string> on_first() const;
  void end_second();  // its last process and all others there are killed

 private:
  TwoHosts() = default;
  std::string set_up(const std::string& directory, int slots);

  std::string one_, two_;  // namespaces
  pid_t host2_ = 0;        // on this machine
  int64_t init2_ = 0;      // the second host's first process
};

}  // namespace tephra::cluster
