// What Prometheus reads from /metrics. docs/api.md lists the names. Any thread.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "coordinator/coordinator.h"
#include "coordinator/prometheus_text.h"
#include "storage/index/store.h"

namespace tephra::coordinator {

class Metrics {
 public:
  // Listens to what happens for as long as `coordinator` lives; this may go before it.
  explicit Metrics(Coordinator& coordinator);

  void http(const std::string& operation, int status, double seconds);
  // Counters of this process, and the jobs as they are. The sizes of the store, which take a walk over its index, are up to
  // 15 s old. Blocks on disk.
  std::string text(Coordinator& coordinator) const;

 private:
  struct State {
    mutable std::mutex mutex;
    std::map<std::string, Histogram> http_seconds;
    std::map<std::pair<std::string, int>, uint64_t> http_requests;
    std::map<std::string, uint64_t> finished;  // jobs, by last phase
    uint64_t steps = 0, restarts = 0, checkpoints = 0, checkpoint_bytes = 0;
    Histogram queue_seconds{{1, 5, 15, 60, 300, 900, 3600, 14400, 86400}};
    Histogram commit_seconds{{0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}};
    std::chrono::steady_clock::time_point stat_at{};
    storage::StoreStat stat;
  };
  static void count(State& state, const JobEvent& event, Coordinator& coordinator);
  storage::StoreStat store_stat(Coordinator& coordinator) const;
  void add_counters(PrometheusText& text) const;

  std::shared_ptr<State> state_;
};

}  // namespace tephra::coordinator
