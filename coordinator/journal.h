// Jobs and their events in the index. A state and the event that made it go into one synced batch, so a coordinator
// that is killed at any instant finds the state that its last finished write left, and the event that explains it.
// Threading: put() and the readers may be called from any thread; they block on disk.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "coordinator/job_state.h"
#include "storage/index/store.h"

namespace tephra::coordinator {

// A job as kept: its state and the two counters that keep order.
struct JournaledJob {
  JobState state;
  uint64_t order = 0;   // of submission, from 1
  uint64_t events = 0;  // journaled so far
};

struct JournaledEvent {
  uint64_t number = 0;  // from 1
  int64_t unix_ms = 0;
  std::string name;
  std::string text;
  uint32_t attempt = 0;
  Phase phase_after = Phase::kQueued;
  int world_after = 0;  // ranks that the job has, or wants; 0: not known
};

// Bytes of a job's record; decode returns kCorruption naming the field that is out of range.
std::string encode(const JournaledJob& job);
Result<JournaledJob> decode_job(std::string_view bytes);

class Journal {
 public:
  explicit Journal(storage::Store& store) : store_(store) {}

  // What has to be written so that `job` (whose `events` is already grown by one) and `event` are durable together; for
  // Store::write, or for the extra puts of Store::commit.
  static std::vector<storage::Put> puts(const JournaledJob& job, const Event& event, int64_t unix_ms);

  Status put(const JournaledJob& job, const Event& event, int64_t unix_ms);

  // All jobs in order of submission. kCorruption names the job.
  Result<std::vector<JournaledJob>> load() const;
  // Those that have not ended, in order of submission. The others, of which there may be very many, go through `ended` one after
  // another, in no order; its error ends the loading. kCorruption names the job.
  Result<std::vector<JournaledJob>> load_unfinished(const std::function<Status(const JournaledJob&)>& ended) const;
  Result<JournaledJob> get(const std::string& job) const;  // kNotFound, kCorruption
  // With numbers above `after`, at most `limit` (0: all).
  Result<std::vector<JournaledEvent>> events(const std::string& job, uint64_t after = 0, size_t limit = 0) const;

 private:
  // Each job, in the order of their ids.
  Status for_each(const std::function<Status(JournaledJob)>& take) const;

  storage::Store& store_;
};

}  // namespace tephra::coordinator
