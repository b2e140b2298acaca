// What the flight recorder costs a rank: nanoseconds an operation, best and median of 200 batches, on one thread, with
// another thread writing its own row, and with a third reading the whole ring without a pause.
// Run: build/bin/flight_bench
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "base/flight_recorder.h"

namespace {
using tephra::FlightOp, tephra::FlightRecorder, tephra::FlightTrack;

void measure(const char* what, FlightRecorder& recorder) {
  constexpr int kBatch = 10000;
  std::vector<double> ns;
  for (int batch = 0; batch < 200; ++batch) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBatch; ++i) recorder.begin({.op = FlightOp::kForward, .unit = 3, .micro_batch = i});
    ns.push_back(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / kBatch);
  }
  std::sort(ns.begin(), ns.end());
  std::printf("{\"bench\": \"flight_recorder\", \"beside\": \"%s\", \"best_ns\": %.0f, \"median_ns\": %.0f}\n", what,
              ns.front(), ns[ns.size() / 2]);
}
}  // namespace

int main() {
  FlightRecorder recorder;
  recorder.begin_task({"a", "b", "c", "d"});
  measure("nothing", recorder);
  std::atomic<bool> stop{false};
  std::thread comm([&] {
    for (uint64_t n = 1; !stop; ++n) {
      recorder.begin({.track = FlightTrack::kComm, .op = FlightOp::kCommAllGather, .sequence = n});
      recorder.end(FlightTrack::kComm);
    }
  });
  measure("a second writer", recorder);
  std::thread reader([&] {
    while (!stop) (void)recorder.snapshot();
  });
  measure("a second writer and a reader", recorder);
  stop = true;
  comm.join();
  reader.join();
}
