#include "base/flight.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace tephra {

std::string_view flight_track_name(FlightTrack track) { return track == FlightTrack::kCompute ? "compute" : "comm"; }

std::string_view flight_op_name(FlightOp op) {
  switch (op) {
    case FlightOp::kData: return "data";
    case FlightOp::kGather: return "gather";
    case FlightOp::kForward: return "forward";
    case FlightOp::kFree: return "free";
    case FlightOp::kRecompute: return "recompute";
    case FlightOp::kBackward: return "backward";
    case FlightOp::kReduceScatter: return "reduce_scatter";
    case FlightOp::kAllReduce: return "all_reduce";
    case FlightOp::kTotals: return "totals";
    case FlightOp::kUpdate: return "update";
    case FlightOp::kAgree: return "agree";
    case FlightOp::kCommAllGather: return "all_gather";
    case FlightOp::kCommReduceScatter: return "reduce_scatter_tree";
  }
  TEPHRA_CHECK(false, "an operation that flight.cc does not know");
}

bool flight_op_waits(FlightOp op) {
  return op == FlightOp::kGather || op == FlightOp::kReduceScatter || op == FlightOp::kAllReduce ||
         op == FlightOp::kTotals || op == FlightOp::kAgree;
}

std::string Flight::unit_name(const FlightRecord& record) const {
  return record.unit >= 0 && record.unit < static_cast<int32_t>(units.size()) ? units[record.unit] : "";
}

const FlightRecord* Flight::open(FlightTrack track) const {
  for (const FlightRecord& record : records)
    if (record.open() && record.track == track) return &record;
  return nullptr;
}

std::vector<std::string> Flight::samples_in_flight() const {
  const FlightRecord* record = open(FlightTrack::kCompute);
  if (record == nullptr || record->micro_batch < 0 || samples_per_micro_batch <= 0) return samples;
  const int64_t size = std::ssize(samples), begin = int64_t{record->micro_batch} * samples_per_micro_batch;
  if (begin >= size) return {};  // beyond what is kept
  return {samples.begin() + begin, samples.begin() + std::min(begin + samples_per_micro_batch, size)};
}

}  // namespace tephra
