#include "cluster/launcher.h"

namespace tephra::cluster {

Result<std::unique_ptr<Launcher>> make_launcher(const std::string& kind, const LauncherOptions& options) {
  if (kind == "hosts") return make_hosts_launcher(options);
  if (kind == "slurm") return make_slurm_launcher(options);
  if (kind == "local") return make_local_launcher(options);
  return Status(Code::kInvalidArgument, "'" + kind + "' is no launcher; there are local, hosts and slurm");
}

}  // namespace tephra::cluster
