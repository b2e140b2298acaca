#include "coordinator/chrome_trace.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace tephra::coordinator {
namespace {

using nlohmann::json;

// Finished steps whose records are all in the flight.
std::vector<int64_t> whole_steps(const Flight& flight) {
  std::vector<int64_t> steps;
  for (const FlightStep& step : flight.steps)
    if (step.first_number >= flight.first_number) steps.push_back(step.step);
  return steps;
}

std::vector<int64_t> common_steps(const GangFlight& gang, int limit) {
  std::map<int64_t, int> seen;
  int flown = 0;
  for (const RankFlight& rank : gang.ranks) {
    if (!rank.flight) continue;
    ++flown;
    for (const int64_t step : whole_steps(*rank.flight)) ++seen[step];
  }
  std::vector<int64_t> steps;
  for (const auto& [step, ranks] : seen)
    if (ranks == flown) steps.push_back(step);
  const auto extra = std::max<std::ptrdiff_t>(0, std::ssize(steps) - limit);
  steps.erase(steps.begin(), steps.begin() + extra);
  return steps;
}

json args_of(const Flight& flight, const FlightRecord& record) {
  json args = {{"step", record.step}};
  if (record.unit >= 0) args["unit"] = flight.unit_name(record);
  if (record.micro_batch >= 0) args["micro_batch"] = record.micro_batch;
  if (record.sequence > 0) {
    args["sequence"] = record.sequence;
    args["bytes"] = record.bytes;
  }
  if (record.submitted_ns >= 0) args["queued_us"] = static_cast<double>(record.begin_ns - record.submitted_ns) / 1e3;
  if (record.open()) args["finished"] = false;
  return args;
}

// Perfetto has a meaning of its own for process 0 and thread 0, the kernel's idle task, and asks that traces made by
// programs leave them out (google/perfetto, issue 394).
int process_of(int rank) { return rank + 1; }

json name_event(int rank, int thread, const char* what, const std::string& name) {
  return {{"ph", "M"}, {"pid", process_of(rank)}, {"tid", thread}, {"name", what}, {"args", {{"name", name}}}};
}

}  // namespace

Result<ChromeTrace> chrome_trace(const GangFlight& gang, int steps) {
  const std::vector<int64_t> chosen = common_steps(gang, steps);
  const auto wanted = [&](int64_t step) {
    return chosen.empty() || (step >= chosen.front() && (gang.lost || step <= chosen.back()));
  };
  // Nanoseconds on the wall clock are too many for a double's 53 bits, so the trace begins at zero.
  int64_t zero_us = INT64_MAX;
  for (const RankFlight& rank : gang.ranks)
    if (rank.flight) zero_us = std::min(zero_us, rank.flight->zero_unix_us);

  json names = json::array();
  std::vector<json> events;
  for (const RankFlight& rank : gang.ranks) {
    if (!rank.flight) continue;
    const Flight& flight = *rank.flight;
    names.push_back(name_event(rank.rank, static_cast<int>(FlightTrack::kCompute), "process_name",
                               "rank " + std::to_string(rank.rank) + (rank.host.empty() ? "" : " on " + rank.host)));
    for (const FlightTrack track : {FlightTrack::kCompute, FlightTrack::kComm})
      names.push_back(
          name_event(rank.rank, static_cast<int>(track), "thread_name", std::string(flight_track_name(track))));
    const auto microseconds = [&](int64_t ns) {
      return static_cast<double>(flight.zero_unix_us - zero_us) + static_cast<double>(ns) / 1e3;
    };
    const auto add = [&](const std::string& name, const char* category, FlightTrack track, int64_t begin, int64_t end,
                         json args) {
      events.push_back({{"ph", "X"},
                        {"name", name},
                        {"cat", category},
                        {"pid", process_of(rank.rank)},
                        {"tid", static_cast<int>(track)},
                        {"ts", microseconds(begin)},
                        {"dur", static_cast<double>(end - begin) / 1e3},
                        {"args", std::move(args)}});
    };
    for (const FlightStep& step : flight.steps)
      if (!chosen.empty() && wanted(step.step))
        add("step " + std::to_string(step.step), "step", FlightTrack::kCompute, step.begin_ns, step.end_ns,
            {{"step", step.step}, {"waited_us", static_cast<double>(step.waited_ns) / 1e3}});
    for (const FlightRecord& record : flight.records) {
      if (!wanted(record.step)) continue;
      const std::string unit = flight.unit_name(record);
      add(std::string(flight_op_name(record.op)) + (unit.empty() ? "" : " " + unit),
          flight_op_waits(record.op) ? "wait"
          : record.sequence > 0      ? "collective"
                                     : "compute",
          record.track, record.begin_ns, record.open() ? flight.now_ns : record.end_ns, args_of(flight, record));
    }
  }
  if (events.empty()) return Status(Code::kNotFound, "no rank of job " + gang.job + " has recorded an operation yet");
  ChromeTrace trace;
  trace.ranks = static_cast<int>(
      std::count_if(gang.ranks.begin(), gang.ranks.end(), [](const RankFlight& r) { return r.flight.has_value(); }));
  trace.steps = static_cast<int>(chosen.size());
  if (!chosen.empty()) {
    trace.first_step = chosen.front();
    trace.last_step = chosen.back();
  }
  trace.events = events.size();
  // By beginning, and the longer one first, so that what nests comes after what it nests in.
  std::stable_sort(events.begin(), events.end(), [](const json& a, const json& b) {
    return std::pair(a["ts"].get<double>(), -a["dur"].get<double>()) <
           std::pair(b["ts"].get<double>(), -b["dur"].get<double>());
  });
  for (json& event : events) names.push_back(std::move(event));
  const json document = {{"traceEvents", std::move(names)},
                         {"displayTimeUnit", "ms"},
                         {"otherData", {{"job", gang.job}, {"attempt", gang.attempt}, {"stage", gang.stage}}}};
  trace.json = document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return trace;
}

}  // namespace tephra::coordinator
