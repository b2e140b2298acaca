// Writes snapshots to packs beside training: one thread, one snapshot at a time, and at most one that waits.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/env.h"
#include "base/pace.h"
#include "base/status.h"
#include "sharding/exec/executor.h"
#include "storage/manifest.h"
#include "worker/link.h"

namespace tephra::worker {

storage::StateKind stored_kind(sharding::StateKind kind);

struct CheckpointJob {
  std::string stage;
  int64_t step = 0;
  std::string pack;                   // name of the pack to write
  std::string metadata_json;          // rank 0; else empty
  std::chrono::nanoseconds spread{};  // the writing may take that long; it goes faster once somebody waits for it
  sharding::Snapshot snapshot;
};

class CheckpointWriter {
 public:
  CheckpointWriter(Env* env, std::string packs_dir, Link* link);
  ~CheckpointWriter();  // waits for what is being written

  // Hands a snapshot over; waits while an earlier one is still being written. Returns the first failure of an earlier write.
  Status submit(CheckpointJob job);
  // Hands it over without waiting: behind the one that is being written, in place of one that waits there, whose step it
  // gives to `dropped`.
  Status submit_newest(CheckpointJob job, std::optional<int64_t>* dropped);
  bool busy() const;  // an earlier one is being written, or waits
  // Waits until everything submitted is durable and reported to the coordinator.
  Status drain();

 private:
  void run();
  void wait_idle(std::unique_lock<std::mutex>& lock);
  Status write(const CheckpointJob& job);

  Env* env_;
  const std::string packs_dir_;
  Link* link_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<CheckpointJob> pending_;
  bool writing_ = false;
  int waiting_ = 0;  // that want the writing to end
  Pace pace_;        // started and hurried under the mutex
  bool stopping_ = false;
  Status failure_;
  std::thread thread_;
};

}  // namespace tephra::worker
