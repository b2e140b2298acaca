// What is proved: the trace's structure, by the rules of the Trace Event Format and of Perfetto's importer for it (complete
// events only, sorted, no negative duration, nothing overlaps in a row but what nests, every row named before it has
// events, whole numbers above 0 for processes and threads), which steps it takes, and that it says how many.
#include "coordinator/chrome_trace.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/random.h"
#include "flights.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

// A flight of `steps` steps of 20 operations and 6 collectives each, at random times; the first `dropped` records are
// gone, as in a ring.
RankFlight flown(int rank, int steps, size_t dropped = 0) {
  RankFlight r = calm_rank(rank);
  Flight& flight = *r.flight;
  flight.steps.clear();
  int64_t compute = 0, comm = 0;
  uint64_t draw = 0, sequence = 0;
  const auto some = [&] { return static_cast<int64_t>(random_bits({7, static_cast<uint64_t>(rank), draw++}) % 5000); };
  for (int64_t step = 1; step <= steps; ++step) {
    const FlightStep begun{.step = step, .begin_ns = compute += some(), .first_number = flight.records.size()};
    for (int i = 0; i < 20; ++i) {
      const int64_t begin = compute, end = compute += some();
      flight.records.push_back({.op = i % 2 ? FlightOp::kGather : FlightOp::kForward,
                                .unit = i % 3,
                                .micro_batch = i % 4,
                                .step = step,
                                .begin_ns = begin,
                                .end_ns = end});
      if (i % 3 != 0) continue;
      comm = std::max(comm, begin) + some();
      flight.records.push_back({.track = FlightTrack::kComm,
                                .op = FlightOp::kCommAllGather,
                                .unit = 1,
                                .step = step,
                                .bytes = 64,
                                .sequence = ++sequence,
                                .submitted_ns = begin,
                                .begin_ns = comm,
                                .end_ns = comm + some()});
      comm = flight.records.back().end_ns;
    }
    flight.steps.push_back(begun);
    flight.steps.back().end_ns = compute;
  }
  flight.records.erase(flight.records.begin(), flight.records.begin() + static_cast<std::ptrdiff_t>(dropped));
  flight.first_number = dropped;
  flight.now_ns = std::max(compute, comm);
  return r;
}

void expect_well_formed(const json& document) {
  double last = -1;
  std::set<json> processes;
  std::set<std::pair<json, json>> threads;
  std::map<std::pair<int, int>, std::vector<double>> open;  // by row: ends of what is open, outermost first
  for (const json& event : document.at("traceEvents")) {
    for (const char* number : {"pid", "tid"}) {
      ASSERT_TRUE(event.at(number).is_number_integer()) << event;
      ASSERT_GT(event.at(number), 0) << event;
    }
    if (event.at("ph") == "M") {
      ASSERT_LT(last, 0) << "names come first: " << event;
      ASSERT_FALSE(event.at("args").at("name").get<std::string>().empty());
      if (event.at("name") == "process_name") {
        ASSERT_TRUE(processes.insert(event.at("pid")).second) << "named twice: " << event;
      } else {
        ASSERT_EQ(event.at("name"), "thread_name");
        ASSERT_TRUE(threads.emplace(event.at("pid"), event.at("tid")).second) << "named twice: " << event;
      }
      continue;
    }
    ASSERT_EQ(event.at("ph"), "X") << "complete events: no phase has to be matched with another";
    ASSERT_TRUE(processes.contains(event.at("pid"))) << event;
    ASSERT_TRUE(threads.contains({event.at("pid"), event.at("tid")})) << event;
    ASSERT_TRUE(event.at("name").is_string() && event.at("cat").is_string() && event.at("args").is_object()) << event;
    const double begin = event.at("ts"), end = begin + event.at("dur").get<double>();
    ASSERT_GE(begin, last) << "sorted";
    ASSERT_GE(event.at("dur").get<double>(), 0) << event;
    last = begin;
    std::vector<double>& row = open[{event.at("pid"), event.at("tid")}];
    constexpr double kRounding = 1e-6;  // microseconds
    while (!row.empty() && row.back() <= begin + kRounding) row.pop_back();
    const double outer = row.empty() ? end : row.back();
    ASSERT_LE(end, outer + kRounding) << "neither after nor within the one before: " << event;
    row.push_back(end);
  }
}

TEST(ChromeTrace, TakesTheLastStepsOfEveryRank) {
  const GangFlight gang = gang_of({flown(0, 6), flown(1, 6)});
  const Result<ChromeTrace> trace = chrome_trace(gang, 3);
  ASSERT_TRUE(trace.ok()) << trace.status().to_string();
  EXPECT_EQ(trace->first_step, 4);
  EXPECT_EQ(trace->last_step, 6);
  EXPECT_EQ(trace->steps, 3);
  const json document = json::parse(trace->json);
  expect_well_formed(document);
  size_t events = 0;
  std::map<int, int> steps_of, collectives_of;
  for (const json& event : document["traceEvents"]) {
    if (event["ph"] == "M") continue;
    ++events;
    EXPECT_GE(event["args"]["step"], 4);
    if (event["cat"] == "step") ++steps_of[event["pid"]];
    if (event["cat"] == "collective") {
      ++collectives_of[event["pid"]];
      EXPECT_EQ(event["tid"], 2);
      EXPECT_EQ(event["args"]["unit"], "llm.block.0");
      EXPECT_EQ(event["args"]["bytes"], 64);
      EXPECT_GT(event["args"]["sequence"], 0);
      EXPECT_GE(event["args"]["queued_us"].get<double>(), 0);
    }
  }
  EXPECT_EQ(events, trace->events);
  EXPECT_EQ(steps_of, (std::map<int, int>{{1, 3}, {2, 3}}));
  EXPECT_EQ(collectives_of, (std::map<int, int>{{1, 21}, {2, 21}}));
}

TEST(ChromeTrace, NamesRanksAndRows) {
  const json document = json::parse(chrome_trace(gang_of({flown(0, 2), flown(1, 2)}), 2)->json);
  std::vector<std::string> names;
  for (const json& event : document["traceEvents"])
    if (event["ph"] == "M") names.push_back(event["args"]["name"]);
  EXPECT_EQ(names,
            (std::vector<std::string>{"rank 0 on node0", "compute", "comm", "rank 1 on node1", "compute", "comm"}));
}

// 27 records a step: of rank 1 the first two steps, and a part of the third, are gone.
TEST(ChromeTrace, SaysHowManyStepsTheRecordsCover) {
  const GangFlight gang = gang_of({flown(0, 6), flown(1, 6, 2 * 27 + 5)});
  const ChromeTrace trace = *chrome_trace(gang, 5);
  EXPECT_EQ(trace.steps, 3);
  EXPECT_EQ(trace.first_step, 4);
  expect_well_formed(json::parse(trace.json));
}

TEST(ChromeTrace, WithoutAWholeStepItHasAllRecords) {
  RankFlight rank = flown(0, 1, 5);
  put_in(rank, FlightOp::kForward, 0, 0);
  const ChromeTrace trace = *chrome_trace(gang_of({rank}), 3);
  EXPECT_EQ(trace.steps, 0);
  EXPECT_EQ(trace.events, 27u - 5 + 1);
  expect_well_formed(json::parse(trace.json));
}

TEST(ChromeTrace, OfALostGangItHasTheStepThatDidNotEnd) {
  RankFlight rank = flown(0, 3), silent = calm_rank(1);
  rank.flight->now_ns += kSecond;
  put_in(rank, FlightOp::kForward, 0, 0.5);
  silent.flight.reset();
  const ChromeTrace trace = *chrome_trace(gang_of({rank, silent}, true), 2);
  EXPECT_EQ(trace.ranks, 1);
  EXPECT_EQ(trace.steps, 2);
  EXPECT_EQ(trace.last_step, 3);
  const json last = json::parse(trace.json)["traceEvents"].back();
  EXPECT_EQ(last["args"]["step"], 4);
  EXPECT_EQ(last["args"]["finished"], false);
  expect_well_formed(json::parse(trace.json));
}

TEST(ChromeTrace, OfNothingThereIsNone) {
  EXPECT_EQ(chrome_trace(gang_of({RankFlight{.rank = 0}}), 3).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tephra::coordinator
