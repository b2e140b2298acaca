// What one decision of the scheduler costs: milliseconds, median and worst of 200, by the number of queued jobs, with
// 20 users, 3 priorities, time limits on half of the jobs and a full machine, so that every job is looked at.
// Run: build/bin/scheduler_bench
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/random.h"
#include "coordinator/scheduler.h"

namespace {
using namespace tephra::coordinator;

SchedulerInput make_queue(int jobs) {
  SchedulerInput input;
  input.options.slots = 64;
  input.now_ms = 10'000'000;
  uint64_t draws = 0;
  const auto below = [&](uint64_t n) { return static_cast<int>(tephra::random_below(n, {7, ++draws})); };
  for (int i = 0; i < 32; ++i)
    input.running.push_back({.id = "running-" + std::to_string(i),
                             .user = "user-" + std::to_string(below(20)),
                             .slots = 2,
                             .priority = 3,
                             .started_ms = 9'000'000,
                             .time_limit_ms = 3'600'000 + 1000 * below(3600)});
  for (int i = 0; i < jobs; ++i)
    input.queued.push_back({.id = "queued-" + std::to_string(i),
                            .user = "user-" + std::to_string(below(20)),
                            .slots = 1 << below(6),
                            .priority = below(3),
                            .order = static_cast<uint64_t>(i + 1),
                            .queued_ms = 10'000'000 - 1000 * below(7200),
                            .time_limit_ms = below(2) == 0 ? 60'000LL * (1 + below(300)) : 0});
  return input;
}

void measure(int jobs) {
  const SchedulerInput input = make_queue(jobs);
  std::vector<double> ms;
  size_t waiting = 0;
  for (int i = 0; i < 200; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const Decision decision = decide(input);
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    waiting = decision.waits.size() - decision.start.size();
  }
  std::sort(ms.begin(), ms.end());
  std::printf("{\"bench\": \"scheduler\", \"queued\": %d, \"waiting\": %zu, \"median_ms\": %.3f, \"worst_ms\": %.3f}\n",
              jobs, waiting, ms[ms.size() / 2], ms.back());
}
}  // namespace

int main() {
  for (const int jobs : {100, 1000, 10'000, 100'000}) measure(jobs);
}
