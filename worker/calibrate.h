// `tephra-worker calibrate`: how fast this machine runs a recipe's model, for `tephra plan --calibration`. Takes some
// seconds, whatever the model's depth.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::cluster {
class Communicator;
}

namespace tephra::worker {

struct CalibrateOptions {
  std::string recipe;  // its model folders need configurations only
  std::vector<std::string> overrides;
  std::string stage;   // empty: the recipe's last one
  int64_t tokens = 0;  // of a sample; 0: the stage's max_length, at most 512
};

// Trains the stage's model, cut to two layers a tower and with made-up samples, for some steps through the executor on
// all ranks of `communicator` at once (they share the machine's memory), and times copies and collectives. Rank 0
// returns a JSON document, the others an empty text; docs/planning.md explains its fields. Collective.
// kInvalidArgument, kUnsupported: recipe, stage or configuration.
Result<std::string> calibrate(const CalibrateOptions& options, cluster::Communicator& communicator);

// As calibrate() on the ranks that mpirun started, or alone. Starts and ends MPI.
Result<std::string> calibrate_under_mpi(const CalibrateOptions& options);

}  // namespace tephra::worker
