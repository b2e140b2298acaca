// Two hosts and one folder: on the first it is a local one, the second mounts it over the network with sshfs, from an SSH server of this
// test's own. Needs root, ip(8), sshd, ssh-keygen and sshfs, and a kernel with FUSE; opens no port on the machine itself.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "cluster/child_process.h"
#include "tests/cluster/two_hosts.h"

namespace tephra::storage {

class SharedFolder {
 public:
  // `directory`: where keys, configuration and the mount point are put; `folder`: what is shared. Null: this machine cannot, and
  // `why_not` says why.
  static std::unique_ptr<SharedFolder> make(const std::string& directory, const std::string& folder,
                                            std::string* why_not);
  ~SharedFolder();

  // Where the folder is on the second host.
  std::string mounted() const { return directory_ + "/mounted"; }
  // Runs a shell's command there to its end.
  cluster::Captured run_on_second(const std::string& command) const;
  // Starts one there; the caller reaps it.
  pid_t start_on_second(const std::string& command) const;

 private:
  explicit SharedFolder(std::string directory) : directory_(std::move(directory)) {}
  std::string set_up(const std::string& folder);

  const std::string directory_;
  std::unique_ptr<cluster::TwoHosts> hosts_;
  pid_t server_ = 0;
};

}  // namespace tephra::storage
