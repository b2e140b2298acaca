// A rank's line to the coordinator: sends what happens and receives tasks. When the line is cut the rank goes on computing for a
// while and looks for the next coordinator, which hears what the one before may not have. When none comes, on_lost ends the
// process, because a rank that nobody listens to must not compute for ever.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

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

struct LinkOptions {
  std::string coordinator;                // HOST:PORT
  std::string coordinator_file{};         // where the address of the next one will be; empty: it stays
  std::chrono::milliseconds reattach{0};  // how long to go on without a coordinator
  // Called once, on a thread of the link, when the coordinator has gone away for good or refuses this rank.
  std::function<void(const Status&)> on_lost;
};

class Link {
 public:
  // Connects and says hello.
  static Result<std::unique_ptr<Link>> connect(LinkOptions options, const cluster::Hello& hello, Deadline deadline);
  ~Link();

  // Blocks until a task comes; kCancelled after Stop when none is waiting.
  Result<cluster::Task> next_task();

  // Any thread. Waits while the queue is full. While there is no coordinator, and when the line is cut before it was read,
  // what must not be lost (steps, shards, answers, the task's end) is said to the next one; the rest is dropped.
  Status send(const cluster::RankMessage& message);
  Status flush(Deadline deadline);

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
  struct Unsettled {
    uint64_t number = 0;  // grows by one
    cluster::RankMessage message;
  };

  Link(LinkOptions options, cluster::Hello hello) : options_(std::move(options)), hello_(std::move(hello)) {}
  Result<std::shared_ptr<cluster::RpcClient>> dial(const std::string& address, Deadline deadline);
  void remember(const cluster::RankMessage& message);
  template <class Message, class Which>
  void forget(Which which);
  void say_again(const std::shared_ptr<cluster::RpcClient>& client);
  void cut(const Status& reason);
  void look_for_coordinator(std::unique_lock<std::mutex>& lock);
  void handle(cluster::CoordinatorMessage message);
  void heartbeat_loop(const Vitals* vitals);

  const LinkOptions options_;
  cluster::Hello hello_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<cluster::RpcClient> client_;  // null: none is connected
  // What the coordinator may not have heard, should it be killed now: the newest steps, the shards that are not committed,
  // the answers and the end of the task.
  std::deque<Unsettled> unsettled_;
  uint64_t said_ = 0;  // of the messages that are remembered
  Status cut_reason_;
  SteadyTime cut_at_{};
  std::deque<cluster::Task> tasks_;
  std::map<std::pair<std::string, int64_t>, Status> commits_;
  Status commit_failure_;
  std::atomic<bool> stop_{false};
  bool closing_ = false;
  cluster::FlightRequest wanted_flight_;  // request 0: none
  std::thread heartbeat_;
};

}  // namespace tephra::worker
