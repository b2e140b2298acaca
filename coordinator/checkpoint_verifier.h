// Reads checkpoints again, one after another, beside everything else, and remembers what came of it until the process ends.
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/threads.h"

namespace tephra::storage {
class Store;
}

namespace tephra::coordinator {

struct Verification {
  // kWaiting for others, kReading, then kWhole or kDamaged; kFailed: it could not be read through (`problems` says why).
  enum class State { kWaiting, kReading, kWhole, kDamaged, kFailed };
  State state = State::kWaiting;
  int64_t unix_ms = 0;  // when it came to this state
  uint64_t bytes_read = 0;
  std::vector<std::string> problems{};  // the first few, a sentence each
};
std::string_view verification_name(Verification::State state);

class CheckpointVerifier {
 public:
  // Both outlive this.
  CheckpointVerifier(const storage::Store& store, const Clock& clock) : store_(store), clock_(clock) {}
  ~CheckpointVerifier();  // ends the reading in progress

  // Queues a checkpoint, by any of its names; returns its own. One that waits or is being read is not queued twice.
  // kNotFound, kInvalidArgument: of Store::resolve; kBusy: too many wait.
  Result<std::string> verify(const std::string& name);
  std::map<std::string, Verification> all() const;  // by name

 private:
  void run(const std::string& name);
  void set(const std::string& name, Verification verification);

  const storage::Store& store_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, Verification> found_;
  size_t waiting_ = 0;
  std::atomic<bool> stopping_{false};
  BlockingPool pool_{1};  // last: its thread ends before what it uses goes
};

}  // namespace tephra::coordinator
