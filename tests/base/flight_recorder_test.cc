// What is proved: the recorder keeps the last 1,000 records in order, knows what is in progress and what failed, sums
// the waits of a step, and can be read while both of a rank's threads write (run it under ThreadSanitizer).
#include "base/flight_recorder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace tephra {
namespace {

constexpr FlightTrack kCompute = FlightTrack::kCompute, kComm = FlightTrack::kComm;

TEST(FlightRecorder, NamesEveryOperationOnce) {
  std::set<std::string_view> names;
  for (int op = 1; op <= kFlightOps; ++op) names.insert(flight_op_name(static_cast<FlightOp>(op)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kFlightOps));
}

TEST(FlightRecorder, AnOperationEndsWhereTheNextOfItsRowBegins) {
  FlightRecorder recorder;
  recorder.begin_task({"tower", "head"});
  recorder.begin_step(5);
  recorder.set_samples({"a", "b", "c", "d"}, 2);
  recorder.begin({.op = FlightOp::kForward, .unit = 0, .micro_batch = 1});
  const SteadyTime submitted = std::chrono::steady_clock::now();
  recorder.begin({.track = kComm,
                  .op = FlightOp::kCommAllGather,
                  .unit = 1,
                  .bytes = 4096,
                  .sequence = 7,
                  .submitted = submitted});
  recorder.begin({.op = FlightOp::kGather, .unit = 1, .micro_batch = 1});
  const Flight flight = recorder.snapshot();
  ASSERT_EQ(flight.records.size(), 3u);
  const FlightRecord& forward = flight.records[0];
  EXPECT_EQ(forward.op, FlightOp::kForward);
  EXPECT_EQ(flight.unit_name(forward), "tower");
  EXPECT_EQ(forward.step, 5);
  const FlightRecord* gather = flight.open(kCompute);
  const FlightRecord* collective = flight.open(kComm);
  ASSERT_TRUE(gather != nullptr && collective != nullptr);
  EXPECT_EQ(gather->op, FlightOp::kGather);
  EXPECT_EQ(gather->begin_ns, forward.end_ns);
  EXPECT_EQ(collective->sequence, 7u);
  EXPECT_EQ(collective->bytes, 4096);
  EXPECT_GE(collective->submitted_ns, forward.begin_ns);
  EXPECT_LE(collective->submitted_ns, collective->begin_ns);
  EXPECT_GE(flight.now_ns, gather->begin_ns);
  EXPECT_EQ(flight.sequence, 7u);
  EXPECT_EQ(flight.step, 5);
  EXPECT_EQ(flight.samples, (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(flight.samples_per_micro_batch, 2);
  EXPECT_EQ(flight.samples_in_flight(), (std::vector<std::string>{"c", "d"}));
  recorder.begin({.op = FlightOp::kTotals});
  EXPECT_EQ(recorder.snapshot().samples_in_flight().size(), 4u) << "of no micro-batch";
}

TEST(FlightRecorder, KeepsTheLastThousandAndWhatIsInProgress) {
  FlightRecorder recorder;
  recorder.begin_task({"unit"});
  recorder.begin({.track = kComm, .op = FlightOp::kCommReduceScatter, .unit = 0, .sequence = 1});
  for (int i = 0; i < 1500; ++i) recorder.begin({.op = FlightOp::kForward, .micro_batch = i});
  const Flight all = recorder.snapshot();
  ASSERT_EQ(all.records.size(), 1002u);
  EXPECT_EQ(all.first_number, 499u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(all.records[i].micro_batch, 499 + i);
  EXPECT_EQ(all.open(kCompute)->micro_batch, 1499);
  EXPECT_EQ(all.open(kComm)->sequence, 1u) << "older than all in the ring, and not lost";
  const Flight few = recorder.snapshot(2);
  ASSERT_EQ(few.records.size(), 4u);
  EXPECT_EQ(few.first_number, 1497u);
  EXPECT_EQ(few.records[0].micro_batch, 1497);
  EXPECT_EQ(recorder.snapshot(0).records.size(), 2u);
}

TEST(FlightRecorder, SumsTheWaitsOfAStep) {
  FlightRecorder recorder;
  recorder.begin_task({});
  for (int64_t step = 1; step <= 70; ++step) {
    recorder.begin_step(step);
    recorder.begin({.op = FlightOp::kForward});
    recorder.begin({.op = FlightOp::kGather});
    recorder.begin({.op = FlightOp::kTotals});
    recorder.begin({.op = FlightOp::kUpdate});
    recorder.end_step();
  }
  const Flight flight = recorder.snapshot();
  ASSERT_EQ(flight.steps.size(), kFlightStepsMax);
  EXPECT_EQ(flight.steps.front().step, 7);
  EXPECT_EQ(flight.step, 0) << "none is in progress";
  for (const FlightStep& step : flight.steps) {
    int64_t waited = 0;
    for (const FlightRecord& record : flight.records)
      if (record.step == step.step && flight_op_waits(record.op)) waited += record.end_ns - record.begin_ns;
    EXPECT_EQ(step.waited_ns, waited);
    EXPECT_GE(step.compute_ns(), 0);
    EXPECT_EQ(step.first_number, static_cast<uint64_t>(4 * (step.step - 1)));
  }
}

TEST(FlightRecorder, ATaskStartsEmpty) {
  FlightRecorder recorder;
  recorder.begin_task({"old"});
  recorder.begin_step(3);
  recorder.set_samples({"x"}, 1);
  recorder.begin({.op = FlightOp::kForward, .unit = 0});
  recorder.begin_task({"new"});
  const Flight flight = recorder.snapshot();
  EXPECT_TRUE(flight.records.empty() && flight.steps.empty() && flight.samples.empty());
  EXPECT_EQ(flight.units, std::vector<std::string>{"new"});
  EXPECT_EQ(flight.step, 0);
  recorder.end(kCompute);
  EXPECT_TRUE(recorder.snapshot().records.empty()) << "nothing was in progress";
}

TEST(FlightRecorder, KeepsNoMoreSamplesThanItSays) {
  FlightRecorder recorder;
  recorder.set_samples(std::vector<std::string>(1000, "id"), 500);
  EXPECT_EQ(recorder.snapshot().samples.size(), kFlightSamplesMax);
  recorder.begin({.op = FlightOp::kForward, .micro_batch = 1});
  EXPECT_TRUE(recorder.snapshot().samples_in_flight().empty());
}

// Every copy is consistent: per row in order, without overlap, times not after the copy's own.
void expect_consistent(const Flight& flight) {
  int64_t ends[] = {0, 0};
  for (const FlightRecord& record : flight.records) {
    int64_t& end = ends[static_cast<int>(record.track) - 1];
    ASSERT_GE(record.begin_ns, end);
    end = record.open() ? record.begin_ns : record.end_ns;
    ASSERT_GE(end, record.begin_ns);
    ASSERT_LE(end, flight.now_ns);
  }
}

TEST(FlightRecorder, CanBeReadWhileTwoThreadsWrite) {
  FlightRecorder recorder;
  recorder.begin_task({"unit"});
  std::atomic<int> reads{0};
  const auto enough = [&] { return reads >= 200; };
  std::thread compute([&] {
    for (int64_t step = 1; !enough(); ++step) {
      recorder.begin_step(step);
      recorder.set_samples({"a" + std::to_string(step)}, 1);
      for (int i = 0; i < 50; ++i)
        recorder.begin({.op = i % 2 == 0 ? FlightOp::kGather : FlightOp::kForward, .unit = 0, .micro_batch = i});
      recorder.end_step();
    }
  });
  std::thread comm([&] {
    for (uint64_t sequence = 1; !enough(); ++sequence) {
      recorder.begin({.track = kComm, .op = FlightOp::kCommAllGather, .unit = 0, .sequence = sequence});
      recorder.end(kComm);
    }
  });
  while (!enough()) {
    expect_consistent(recorder.snapshot(reads % 2 == 0 ? kFlightRecordsMax : 5));
    ++reads;
  }
  compute.join();
  comm.join();
}

}  // namespace
}  // namespace tephra
