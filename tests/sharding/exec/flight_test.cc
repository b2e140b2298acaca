// The executor's flight record: every operation of the schedule in order, every collective with its number, and what
// failed left open.
#include <gtest/gtest.h>

#include "base/flight_recorder.h"
#include "tests/sharding/exec/chain.h"

namespace tephra::sharding::test {
namespace {

// One training step of two ranks; the flight of each.
std::vector<Flight> fly(const Training& training, std::vector<uint64_t>* sequences) {
  auto communicators = cluster::make_thread_communicators(training.world_size);
  std::vector<FlightRecorder> recorders(training.world_size);
  const auto batches = toy_batches(1, training.global_micro_batches);
  on_ranks(training.world_size, [&](int rank) {
    auto executor = Executor::create(toy_units(), toy_modules(), communicators[rank].get(), policy_of(training),
                                     optimizer_of(training), std::chrono::seconds(20), &recorders[rank]);
    ASSERT_TRUE(executor.ok()) << executor.status().to_string();
    ASSERT_TRUE((*executor)->load(initial_reader(), false).ok());
    recorders[rank].begin_step(1);
    const auto stats = (*executor)->train_step(local_part(batches, rank, training.world_size), step_input(1));
    ASSERT_TRUE(stats.ok()) << stats.status().to_string();
    recorders[rank].end_step();
  });
  std::vector<Flight> flights;
  for (const FlightRecorder& recorder : recorders) flights.push_back(recorder.snapshot());
  for (const auto& communicator : communicators) sequences->push_back(communicator->sequence());
  return flights;
}

std::vector<std::string> names(const Flight& flight, FlightTrack track) {
  std::vector<std::string> out;
  for (const FlightRecord& record : flight.records)
    if (record.track == track)
      out.push_back(std::string(flight_op_name(record.op)) + " " + flight.unit_name(record) + " " +
                    std::to_string(record.micro_batch));
  return out;
}

std::vector<std::string> expected_operations(const Training& training) {
  std::vector<std::string> out;
  const auto units = toy_units();
  static constexpr const char* kNames[] = {"gather",   "forward",        "free",       "recompute",
                                           "backward", "reduce_scatter", "all_reduce", "totals"};
  for (const Op& op : make_schedule(units, policy_of(training)))
    out.push_back(std::string(kNames[static_cast<int>(op.kind)]) + " " + (op.unit >= 0 ? units[op.unit].name : "") +
                  " " + std::to_string(op.micro_batch));
  out.push_back("update  -1");
  return out;
}

TEST(ExecutorFlight, HasEveryOperationAndCollective) {
  for (const ShardLevel shard : {ShardLevel::kParameters, ShardLevel::kNone}) {
    const Training training{.world_size = 2, .global_micro_batches = 4, .shard = shard, .recompute_every = 2};
    std::vector<uint64_t> sequences;
    const std::vector<Flight> flights = fly(training, &sequences);
    for (size_t rank = 0; rank < flights.size(); ++rank) {
      const Flight& flight = flights[rank];
      EXPECT_EQ(names(flight, FlightTrack::kCompute), expected_operations(training));
      EXPECT_EQ(names(flight, FlightTrack::kComm), names(flights[0], FlightTrack::kComm)) << "the same on all ranks";
      uint64_t sequence = 0;
      for (const FlightRecord& record : flight.records) {
        EXPECT_FALSE(record.open());
        EXPECT_EQ(record.step, 1);
        if (record.track == FlightTrack::kCompute) continue;
        EXPECT_EQ(record.sequence, ++sequence);
        EXPECT_GT(record.bytes, 0);
        EXPECT_LE(record.submitted_ns, record.begin_ns);
      }
      EXPECT_EQ(sequence, sequences[rank]) << "every collective of the communicator is recorded";
      EXPECT_EQ(flight.sequence, sequences[rank]);
      ASSERT_EQ(flight.steps.size(), 1u);
      EXPECT_GT(flight.steps[0].compute_ns(), 0);
    }
  }
}

TEST(ExecutorFlight, LeavesOpenWhatFailed) {
  const Training training{.world_size = 2};
  auto communicators = cluster::make_thread_communicators(2);
  FlightRecorder recorder;
  const auto batches = toy_batches(1, training.global_micro_batches);
  auto executor = Executor::create(toy_units(), toy_modules(), communicators[0].get(), policy_of(training),
                                   optimizer_of(training), std::chrono::milliseconds(50), &recorder);
  ASSERT_TRUE(executor.ok()) << executor.status().to_string();
  recorder.begin_step(1);
  const auto stats = (*executor)->train_step(local_part(batches, 0, 2), step_input(1));  // rank 1 never comes
  EXPECT_EQ(stats.status().code(), Code::kTimeout);
  const Flight flight = recorder.snapshot();
  ASSERT_NE(flight.open(FlightTrack::kComm), nullptr);
  EXPECT_EQ(flight.open(FlightTrack::kComm)->sequence, 1u);
  EXPECT_EQ(flight.unit_name(*flight.open(FlightTrack::kComm)), "front");
  ASSERT_NE(flight.open(FlightTrack::kCompute), nullptr);
  EXPECT_EQ(flight.open(FlightTrack::kCompute)->op, FlightOp::kGather);
  EXPECT_EQ(flight.step, 1) << "the step is not over";
}

}  // namespace
}  // namespace tephra::sharding::test
