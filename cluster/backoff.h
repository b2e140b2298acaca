// The pause of a polling loop over a transport that cannot be waited on with a deadline (MPI, NCCL).
#pragma once

#include <sched.h>
#include <unistd.h>

#include <chrono>

#include "base/clock.h"

namespace tephra::cluster {

// Waits politely: ranks may outnumber cores, and the compute thread wants this one. Short waits are spun through.
class Backoff {
 public:
  void progress() { idle_since_ = {}; }
  void idle() {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (idle_since_ == SteadyTime{}) idle_since_ = now;
    const auto waited = now - idle_since_;
    if (waited < std::chrono::microseconds(20)) return;
    if (waited < std::chrono::microseconds(300)) {
      sched_yield();
    } else {
      usleep(50);
    }
  }

 private:
  SteadyTime idle_since_{};
};

}  // namespace tephra::cluster
