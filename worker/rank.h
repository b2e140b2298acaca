// `tephra-worker rank`: one rank of a gang. mpirun or srun starts it; it connects back to the coordinator and runs what it is told.
#pragma once

#include <cstdint>
#include <string>

namespace tephra::worker {

struct RankOptions {
  std::string coordinator;  // HOST:PORT
  std::string job;
  uint32_t attempt = 0;
  std::string token;  // the gang's secret
};

// Returns the exit code: 0 after an orderly Stop, 1 when a task failed, 3 when MPI or the coordinator cannot be reached. Ends the
// process at once (code 3) when the coordinator goes away.
int run_rank(const RankOptions& options);

}  // namespace tephra::worker
