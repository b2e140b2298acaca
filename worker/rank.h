// `tephra-worker rank`: one rank of a gang. mpirun or srun starts it; it connects back to the coordinator and runs what it is told.
#pragma once

#include <cstdint>
#include <string>

namespace tephra::worker {

struct RankOptions {
  std::string coordinator;       // HOST:PORT
  std::string coordinator_file;  // has the address of the coordinator that is there now; empty: it stays where it was
  int64_t reattach_ms = 0;       // how long the rank goes on without one
  std::string job;
  uint32_t attempt = 0;
  std::string token;  // the gang's secret
};

// Returns the exit code: 0 after an orderly Stop, 1 when a task failed, 3 when MPI or the coordinator cannot be reached. Ends the
// process (code 3) when the coordinator goes away and none takes the rank back within reattach_ms.
int run_rank(const RankOptions& options);

}  // namespace tephra::worker
