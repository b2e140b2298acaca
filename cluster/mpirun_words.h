// What Open MPI 4.1's mpirun says about the end of a gang, in words for people. Pure functions but read_tail.
#pragma once

#include <cstdint>
#include <string>

#include "cluster/launcher.h"

namespace tephra::cluster {

// `status`: of waitpid; `tail`: what mpirun wrote into the log since the start, the end of it; it alone knows which rank
// or host it was.
ExitInfo describe_mpirun_exit(int status, const std::string& tail, const std::string& log_path);

// The host whose daemon mpirun has lost, as mpirun calls it; empty: it says nothing of the kind.
std::string lost_host(const std::string& tail);

// The last 16 KiB of the file at most, from `offset` on; empty when there is no such file.
std::string read_tail(const std::string& path, int64_t offset);

}  // namespace tephra::cluster
