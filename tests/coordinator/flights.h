// Gangs' flights made by hand.
#pragma once

#include <string>

#include "coordinator/gang_flight.h"

namespace tephra::coordinator {

constexpr int64_t kSecond = 1'000'000'000;

// A rank that answers: three steps done, each of 1 s of which it waited `waited_s`; now, 10 s after zero, in nothing.
inline RankFlight calm_rank(int rank, double waited_s = 0.25) {
  RankFlight r;
  r.rank = rank;
  r.pid = 100 + rank;
  r.host = "node" + std::to_string(rank);
  r.connected = r.beaten = true;
  r.silent_ms = 200;
  r.heartbeat.phase = "step";
  r.heartbeat.step = 3;
  Flight& flight = r.flight.emplace();
  flight.zero_unix_us = 1'764'108'000'000'000 + rank;
  flight.now_ns = 10 * kSecond;
  flight.sequence = 40;
  flight.units = {"connector", "llm.block.0", "llm.block.1"};
  flight.samples = {"a", "b", "c", "d"};
  flight.samples_per_micro_batch = 2;
  for (int64_t step = 1; step <= 3; ++step)
    flight.steps.push_back({step, (step - 1) * kSecond, step * kSecond, static_cast<int64_t>(waited_s * kSecond), 0});
  return r;
}

// The compute row is in `op` since `s` seconds, in micro-batch 1 of step 4.
inline void put_in(RankFlight& rank, FlightOp op, int unit, double s) {
  Flight& flight = *rank.flight;
  flight.step = 4;
  flight.records.push_back({.op = op,
                            .unit = unit,
                            .micro_batch = 1,
                            .step = 4,
                            .begin_ns = flight.now_ns - static_cast<int64_t>(s * kSecond)});
}

// The comm row waits in collective `sequence` since `s` seconds.
inline void wait_in(RankFlight& rank, FlightOp op, uint64_t sequence, int unit, double s) {
  Flight& flight = *rank.flight;
  flight.sequence = sequence;
  const int64_t begin = flight.now_ns - static_cast<int64_t>(s * kSecond);
  flight.records.push_back({.track = FlightTrack::kComm,
                            .op = op,
                            .unit = unit,
                            .step = 4,
                            .bytes = 4096,
                            .sequence = sequence,
                            .submitted_ns = begin - 10,
                            .begin_ns = begin});
}

inline GangFlight gang_of(std::vector<RankFlight> ranks, bool lost = false) {
  GangFlight gang{.job = "demo-1", .attempt = 2, .stage = "align", .unix_ms = 1'764'108'005'000, .lost = lost};
  if (lost) gang.reason = "rank 0: waited too long";
  gang.ranks = std::move(ranks);
  return gang;
}

}  // namespace tephra::coordinator
