// A Slurm of its own on this machine: munged, slurmctld and slurmd with configuration, folders and ports of their own.
// Needs root and Debian's slurm-wlm and munge. The daemons are this process's children; none is left when the object goes.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace tephra::cluster {

class OneMachineSlurm {
 public:
  // Starts it below `directory` and sets SLURM_CONF for this process. One node of `cpus` CPUs in the partitions "main"
  // (the default), "urgent", which may take main's CPUs, and "closed", which is down. Null: this machine cannot, and
  // `why_not` says why.
  static std::unique_ptr<OneMachineSlurm> start(const std::string& directory, int cpus, std::string* why_not);
  ~OneMachineSlurm();

 private:
  OneMachineSlurm() = default;
  std::string set_up(const std::string& directory, int cpus);
  std::string spawn(const std::vector<std::string>& command, const std::string& directory);

  std::vector<pid_t> daemons_;
};

}  // namespace tephra::cluster
