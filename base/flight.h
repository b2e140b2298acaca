// A flight: what a rank did last, and what it is doing. FlightRecorder keeps one; ranks send theirs to the coordinator
// (cluster/messages.h), which puts them beside each other (coordinator/gang_flight.h). Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tephra {

// The two rows of a rank. Operations of a row follow one another; they never overlap.
enum class FlightTrack : uint8_t { kCompute = 1, kComm };
std::string_view flight_track_name(FlightTrack track);  // "compute", "comm"

enum class FlightOp : uint8_t {
  kData = 1,       // waits for the loader's samples and makes micro-batches of them
  kGather,         // waits until a unit is gathered, and hands the next gathers to the comm thread
  kForward,        // of a unit
  kFree,           // drops a gathered unit
  kRecompute,      // a unit's forward again, in backward
  kBackward,       // of a unit
  kReduceScatter,  // waits for the reduction before, and hands a unit's gradient to the comm thread
  kAllReduce,      // likewise, where each rank keeps the whole sum
  kTotals,         // waits for the ranks' losses and norms
  kUpdate,         // the optimizer's arithmetic
  kAgree,          // waits until the ranks agree on whether to stop; a collective of the compute thread
  // On the comm thread, as in cluster/communicator.h:
  kCommAllGather,
  kCommReduceScatter,
};
inline constexpr int kFlightOps = static_cast<int>(FlightOp::kCommReduceScatter);
std::string_view flight_op_name(FlightOp op);  // "forward", "all_gather", ...
bool flight_op_waits(FlightOp op);             // the compute thread waits in it for other ranks

// Times are nanoseconds of the rank's steady clock since the flight's zero.
struct FlightRecord {
  FlightTrack track = FlightTrack::kCompute;
  FlightOp op = FlightOp::kData;
  int32_t unit = -1;          // index into Flight::units; -1: of none
  int32_t micro_batch = -1;   // of the rank's own in the step, from 0; -1: of none
  int64_t step = 0;           // the step's number, from 1; 0: outside a step
  int64_t bytes = 0;          // of a collective: what it fills or sums on this rank
  uint64_t sequence = 0;      // of a collective: Communicator::sequence(); 0: not one
  int64_t submitted_ns = -1;  // of a collective: when it was handed to the comm thread
  int64_t begin_ns = 0;
  int64_t end_ns = -1;  // -1: in progress, or failed

  bool open() const { return end_ns < 0; }
  bool operator==(const FlightRecord&) const = default;
};

// A finished step as a whole; kept longer than its records.
struct FlightStep {
  int64_t step = 0;
  int64_t begin_ns = 0, end_ns = 0;
  int64_t waited_ns = 0;      // of it, in operations that wait for other ranks
  uint64_t first_number = 0;  // records finished before it began
  int64_t compute_ns() const { return end_ns - begin_ns - waited_ns; }
  bool operator==(const FlightStep&) const = default;
};

struct Flight {
  int64_t zero_unix_us = 0;  // the wall clock's microseconds at zero: puts the ranks' times beside each other
  int64_t now_ns = 0;        // when this copy was taken
  int64_t step = 0;          // in progress; 0: none
  uint64_t sequence = 0;     // of the last collective begun
  std::vector<std::string> units = {};
  std::vector<std::string> samples = {};   // ids of the step in progress, or of the last one
  int32_t samples_per_micro_batch = 0;     // consecutive ids that belong to a micro-batch
  uint64_t first_number = 0;               // records finished before the first of `records`
  std::vector<FlightRecord> records = {};  // finished ones in the order of their ends, then those in progress
  std::vector<FlightStep> steps = {};      // oldest first
  bool operator==(const Flight&) const = default;

  std::string unit_name(const FlightRecord& record) const;  // "" of none
  const FlightRecord* open(FlightTrack track) const;        // null: the row is idle
  // Ids of the compute row's micro-batch, or of the whole step where it is in none.
  std::vector<std::string> samples_in_flight() const;
};

inline constexpr size_t kFlightRecordsMax = 1000;  // finished ones, beside one in progress a row
inline constexpr size_t kFlightStepsMax = 64;
inline constexpr size_t kFlightSamplesMax = 256;

}  // namespace tephra
