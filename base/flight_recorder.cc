#include "base/flight_recorder.h"

#include <algorithm>
#include <utility>

namespace tephra {
namespace {

using std::chrono::steady_clock;

size_t row(FlightTrack track) { return static_cast<size_t>(track) - 1; }

FlightRecord idle() {
  FlightRecord record;
  record.begin_ns = -1;
  return record;
}

}  // namespace

FlightRecorder::FlightRecorder()
    : zero_(steady_clock::now()),
      zero_unix_us_(
          std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
              .count()),
      ring_(kFlightRecordsMax),
      open_{idle(), idle()},
      steps_(kFlightStepsMax) {}

void FlightRecorder::begin_task(std::vector<std::string> units) {
  std::lock_guard lock(mutex_);
  units_ = std::move(units);
  samples_.clear();
  samples_per_micro_batch_ = 0;
  finished_ = steps_finished_ = 0;
  open_ = {idle(), idle()};
  step_ = {};
}

void FlightRecorder::begin_step(int64_t step) {
  const int64_t now = since_zero(steady_clock::now());
  std::lock_guard lock(mutex_);
  finish(FlightTrack::kCompute, now);
  step_ = {.step = step, .begin_ns = now, .first_number = finished_};
  samples_.clear();
}

void FlightRecorder::set_samples(std::vector<std::string> ids, int per_micro_batch) {
  ids.resize(std::min(ids.size(), kFlightSamplesMax));
  std::lock_guard lock(mutex_);
  samples_ = std::move(ids);
  samples_per_micro_batch_ = per_micro_batch;
}

void FlightRecorder::end_step() {
  const int64_t now = since_zero(steady_clock::now());
  std::lock_guard lock(mutex_);
  finish(FlightTrack::kCompute, now);
  step_.end_ns = now;
  steps_[steps_finished_++ % kFlightStepsMax] = step_;
  step_ = {};
}

void FlightRecorder::begin(const Start& start) {
  const SteadyTime time = steady_clock::now();
  const int64_t now = since_zero(time);
  std::lock_guard lock(mutex_);
  finish(start.track, now);
  FlightRecord& record = open_[row(start.track)];
  record = {.track = start.track,
            .op = start.op,
            .unit = start.unit,
            .micro_batch = start.micro_batch,
            .step = step_.step,
            .bytes = start.bytes,
            .sequence = start.sequence,
            .submitted_ns = start.submitted == SteadyTime{} ? -1 : since_zero(start.submitted),
            .begin_ns = now};
  if (start.sequence > 0) sequence_ = start.sequence;
}

void FlightRecorder::end(FlightTrack track) {
  const int64_t now = since_zero(steady_clock::now());
  std::lock_guard lock(mutex_);
  finish(track, now);
}

void FlightRecorder::finish(FlightTrack track, int64_t now_ns) {
  FlightRecord& record = open_[row(track)];
  if (record.begin_ns < 0) return;
  record.end_ns = now_ns;
  if (track == FlightTrack::kCompute && flight_op_waits(record.op)) step_.waited_ns += now_ns - record.begin_ns;
  ring_[finished_++ % kFlightRecordsMax] = record;
  record = idle();
}

Flight FlightRecorder::snapshot(size_t records_max) const {
  const int64_t now = since_zero(steady_clock::now());
  Flight flight;
  std::lock_guard lock(mutex_);
  flight.zero_unix_us = zero_unix_us_;
  flight.step = step_.step;
  flight.sequence = sequence_;
  flight.units = units_;
  flight.samples = samples_;
  flight.samples_per_micro_batch = samples_per_micro_batch_;
  const uint64_t count = std::min<uint64_t>({finished_, records_max, kFlightRecordsMax});
  flight.first_number = finished_ - count;
  flight.records.reserve(count + open_.size());
  for (uint64_t number = flight.first_number; number < finished_; ++number)
    flight.records.push_back(ring_[number % kFlightRecordsMax]);
  flight.now_ns = now;  // the lock was waited for, so a writer may have been later than this
  for (const FlightRecord& record : flight.records) flight.now_ns = std::max(flight.now_ns, record.end_ns);
  for (const FlightRecord& record : open_) {
    if (record.begin_ns < 0) continue;
    flight.records.push_back(record);
    flight.now_ns = std::max(flight.now_ns, record.begin_ns);
  }
  const uint64_t steps = std::min<uint64_t>(steps_finished_, kFlightStepsMax);
  for (uint64_t number = steps_finished_ - steps; number < steps_finished_; ++number)
    flight.steps.push_back(steps_[number % kFlightStepsMax]);
  return flight;
}

}  // namespace tephra
