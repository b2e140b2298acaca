// A rank's line to the coordinator: sends what happens, receives tasks, and ends the process when the line is cut, because a rank
// that nobody listens to must not go on computing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/flight_recorder.h"
#include "base/status.h"
#include "cluster/rpc.h"

namespace tephra::worker {

// Where the rank is; written by the compute and comm threads, read by the heartbeat.
struct Vitals {
  std::atomic<const char*> phase{"start"};  // string literals only; between operations that the flight knows of
  std::atomic<int64_t> step{0};
  FlightRecorder flight;
};

cluster::Heartbeat heartbeat_of(const Vitals& vitals);

int64_t resident_bytes();  // of this process, from /proc/self/statm

class Link {
 public:
  // Connects and says hello. `on_lost` is called once, on the io thread, when the coordinator goes away or refuses this rank.
  static Result<std::unique_ptr<Link>> connect(const std::string& host, uint16_t port, const cluster::Hello& hello,
                                               std::function<void(const Status&)> on_lost, Deadline deadline);
  ~Link();

  // Blocks until a task comes; kCancelled after Stop when none is waiting.
  Result<cluster::Task> next_task();

  // Any thread. Waits while the queue is full.
  Status send(const cluster::RankMessage& message);
  Status flush(Deadline deadline) { return client_->flush(deadline); }

  // Blocks until the coordinator has committed (or failed to commit) the checkpoint (stage, step).
  Status wait_committed(const std::string& stage, int64_t step, Deadline deadline);
  // The first commit that failed, if any; ok otherwise. Does not block.
  Status commit_failure() const;

  bool stop_requested() const { return stop_; }

  // Starts one heartbeat a second from `vitals`, which outlives the link. The same thread answers when the coordinator
  // asks for the flight.
  void start_heartbeat(const Vitals* vitals);
  // The flight, unasked: before the Finished of a training task.
  void send_flight(const Vitals& vitals);

 private:
  Link() = default;
  void handle(cluster::CoordinatorMessage message);
  void heartbeat_loop(const Vitals* vitals);

  std::unique_ptr<cluster::RpcClient> client_;
  std::function<void(const Status&)> on_lost_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<cluster::Task> tasks_;
  std::map<std::pair<std::string, int64_t>, Status> commits_;
  Status commit_failure_;
  std::atomic<bool> stop_{false};
  bool closing_ = false;
  cluster::FlightRequest wanted_flight_;  // request 0: none
  std::thread heartbeat_;
};

}  // namespace tephra::worker
