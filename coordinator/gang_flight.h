// The flights of a gang's ranks beside each other: which rank is behind, where, and what the others wait for.
// All functions here are pure; what they are given comes from heartbeats, FlightReports and the ends of connections.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/flight.h"
#include "base/status.h"
#include "cluster/messages.h"

namespace tephra::coordinator {

// What the coordinator has of a rank.
struct RankFlight {
  int rank = 0;
  int64_t pid = 0;
  std::string host = {};
  bool connected = false;
  bool left_first = false;  // its connection was the first sign of trouble, and it had said nothing
  int64_t silent_ms = -1;  // since it was last heard, or, where the gang is lost, until its first sign; -1: never heard
  bool beaten = false;     // `heartbeat` came
  cluster::Heartbeat heartbeat = {};  // the last one
  std::optional<Flight> flight = {};  // the newest; absent: it was not asked, or did not answer
  int64_t flight_age_ms = 0;          // since it came
  std::string said = {};              // why its task failed; empty: it said nothing
  bool echo = false;                  // `said` tells of another rank's failure
};

struct GangFlight {
  std::string job;
  uint32_t attempt = 0;
  std::string stage;
  int64_t unix_ms = 0;
  bool lost = false;  // the gang is being given up, for `reason`; else a look at one that runs, or its end in order
  std::string reason = {};
  std::vector<RankFlight> ranks = {};  // all of them, in order
};

// Where a rank is, by its flight or else by its last heartbeat.
struct RankPlace {
  std::string phase, unit;  // of the compute row; the unit may be empty
  int64_t micro_batch = -1;
  int64_t step = 0;  // the step in progress, or steps done where none is
  double phase_s = 0;
  uint64_t sequence = 0;   // of the last collective begun
  std::string collective;  // in progress; empty: none
  std::string collective_unit;
  int64_t collective_bytes = 0;
  double collective_s = 0;
  std::vector<std::string> samples;
};

// A rank's steps beside the others', over the steps that all flights have.
struct RankPace {
  bool known = false;                            // the rank's flight is
  double compute_mean_s = 0, compute_max_s = 0;  // a step's time outside waits for other ranks
  double waited_mean_s = 0;
  int last = 0;  // steps in which it computed longest, so that the others waited for it
};

struct FlightFindings {
  int behind = -1;                     // the rank that the others wait for; -1: none, or it cannot be told
  std::string verdict;                 // one sentence or two, for people
  std::vector<RankPlace> places;       // by rank
  std::vector<std::string> waits_for;  // by rank: "all_gather #12 of head for 2.0 s; rank 1 has not begun it", or empty
  int64_t first_step = 0, last_step = 0;  // of `paces`; 0: no step is in all flights
  int steps = 0;
  std::vector<RankPace> paces;  // by rank; empty when steps is 0
};

FlightFindings examine(const GangFlight& gang);

// Parts of examine(): fills in the paces; and what they say of a gang that runs, "rank 1 is the slowest: ..." or that
// there is none.
void compare_paces(const GangFlight& gang, FlightFindings* out);
std::string slowest_rank(const FlightFindings& findings);

// The page for people: verdict, each rank with its last operations, paces. `findings` of the same gang.
std::string flight_page(const GangFlight& gang, const FlightFindings& findings);

// Documents. flights: everything (reads back with gang_flight_from_json); report: findings and the page.
std::string to_json(const GangFlight& gang);
Result<GangFlight> gang_flight_from_json(const std::string& text);  // kCorruption names what is wrong
std::string report_json(const GangFlight& gang, const FlightFindings& findings);

// Words of the sentences and the page.
std::string seconds_text(double value);                             // "2.5 s", "12 ms", "30 us"
std::string samples_text(const std::vector<std::string>& samples);  // the first eight, and how many more

}  // namespace tephra::coordinator
