// A rank's flight recorder: a ring of its last 1,000 operations, cheap enough to be always on (bench/flight_bench.cc
// measures it). The compute thread writes its row and the steps, the comm thread its own row; snapshot() may be called
// from any thread at any time. One short mutex guards all of it: the two writers hardly ever meet, and a reader comes
// once a second.
#pragma once

#include <array>
#include <chrono>
#include <mutex>

#include "base/clock.h"
#include "base/flight.h"

namespace tephra {

class FlightRecorder {
 public:
  // Zero is now, on both clocks.
  FlightRecorder();
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  // A task begins: what was recorded is forgotten. `units`: the names that records' unit indices mean; UTF-8.
  void begin_task(std::vector<std::string> units);

  // The step's number is from 1. What is recorded until end_step() belongs to it. A step that fails is never ended.
  void begin_step(int64_t step);
  // Ids of this rank's samples in the step, micro-batch by micro-batch; the first kFlightSamplesMax are kept. UTF-8.
  void set_samples(std::vector<std::string> ids, int per_micro_batch);
  void end_step();

  // An operation begins on its row; the one before on that row ends at the same instant if it has not.
  struct Start {
    FlightTrack track = FlightTrack::kCompute;
    FlightOp op = FlightOp::kData;
    int unit = -1;
    int micro_batch = -1;
    int64_t bytes = 0;
    uint64_t sequence = 0;   // of a collective
    SteadyTime submitted{};  // of a collective on the comm thread
  };
  void begin(const Start& start);
  // The row's operation ends. Not called for one that fails: it stays as the operation in progress.
  void end(FlightTrack track);

  // The last `records_max` finished records, those in progress, and the rest of the flight.
  Flight snapshot(size_t records_max = kFlightRecordsMax) const;

 private:
  int64_t since_zero(SteadyTime time) const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(time - zero_).count();
  }
  void finish(FlightTrack track, int64_t now_ns);  // with mutex_ held

  const SteadyTime zero_;
  const int64_t zero_unix_us_;
  mutable std::mutex mutex_;
  std::vector<FlightRecord> ring_;    // kFlightRecordsMax slots; the record of number n is in slot n % size
  uint64_t finished_ = 0;             // records ever finished
  std::array<FlightRecord, 2> open_;  // by row; begin_ns < 0: idle
  std::vector<FlightStep> steps_;     // as a ring of kFlightStepsMax
  uint64_t steps_finished_ = 0;
  FlightStep step_;  // in progress; step 0: none
  uint64_t sequence_ = 0;
  std::vector<std::string> units_, samples_;
  int samples_per_micro_batch_ = 0;
};

}  // namespace tephra
