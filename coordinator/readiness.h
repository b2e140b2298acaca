// Whether jobs can be taken and run.
#pragma once

#include <mutex>
#include <vector>

#include "coordinator/coordinator.h"

namespace tephra::coordinator {

// Writes one synced record to the store's index, and looks for the programs that a gang is started with. What was found is
// given again for a second: whoever may ask without a token must not keep the disk busy. Any thread; blocks on disk.
class Readiness {
 public:
  Readiness(storage::Store& store, const Options& options) : store_(store), options_(options) {}
  std::vector<ReadinessCheck> checks();

 private:
  storage::Store& store_;
  const Options& options_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point at_{};
  std::vector<ReadinessCheck> found_;
};

}  // namespace tephra::coordinator
