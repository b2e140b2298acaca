// One attempt's gang as the coordinator sees it: launching, the ranks' hellos, heartbeats and deaths, and its end.
// Threading: every method and every callback on the dispatcher thread; processes are started and ended on the pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/threads.h"
#include "cluster/launcher.h"
#include "cluster/rpc.h"
#include "coordinator/coordinator.h"
#include "coordinator/gang_flight.h"

namespace tephra::coordinator {

struct GangSessionOptions {
  std::string job;
  uint32_t attempt = 0;
  int world = 1;
  std::string token_sha256;  // of the gang's random secret, hex
  cluster::GangSpec spec;    // what to launch
  std::chrono::milliseconds heartbeat_timeout{30000};
  std::chrono::milliseconds start_timeout{120000};
};

class GangSession : public std::enable_shared_from_this<GangSession> {
 public:
  struct Callbacks {
    std::function<void(const cluster::GangIdentity&)> on_launched;
    std::function<void()> on_up;  // once
    // At most once, and not after stop() or kill(). The reason ends with what the ranks' flights tell, unless a rank
    // said itself what went wrong.
    std::function<void(const std::string& reason, RetryClass, const GangFlight&)> on_lost;
    std::function<void(const std::string& what)> on_waiting;  // why the ranks do not run yet, each time that it changes
    // At most once and not after stop() or kill(): the hosts will be taken back, or were.
    std::function<void(const std::string& reason)> on_withdrawn;
    std::function<void()> on_ended;  // once after stop() or kill(): no process is left
    std::function<void(const std::vector<cluster::Finished>&)> on_finished;  // every rank finished the task ok
  };

  GangSession(GangSessionOptions options, Callbacks callbacks, Dispatcher& dispatcher, BlockingPool& pool,
              cluster::Launcher& launcher, cluster::RpcServer& rpc);

  void launch();
  // In place of launch(): a gang of an earlier coordinator, whose ranks come back by themselves.
  void adopt(std::shared_ptr<cluster::Gang> gang);

  // Takes a rank's connection in, or says why not.
  Status hello(cluster::ConnectionId connection, const cluster::Hello& hello);
  void heartbeat(int rank, const cluster::Heartbeat& heartbeat);
  void finished(int rank, const cluster::Finished& finished);
  void flown(int rank, const cluster::FlightReport& report);
  void connection_closed(int rank, const Status& reason);
  // Something else is wrong with the gang: reported through on_lost after a short wait for a better explanation.
  void fault(int weight, const std::string& reason, RetryClass retry);

  // Asks the ranks for their flights and calls `done` once: when all connected ones have answered, or after a second,
  // because a rank that hangs may not answer; at once when the gang is being lost. `done` may be null. kBusy: too many
  // have asked and wait.
  Status ask_flights(uint32_t records_max, std::function<void()> done);
  // What is known now: heartbeats, and the flights that came since they were last asked for. `job` to `unix_ms` of the
  // result are the session's; the stage and the time are the caller's to fill in.
  GangFlight flights() const;

  // To every rank; what cannot be sent is a fault. A Task goes to those that do not have it yet, and their Finished of the
  // task before is forgotten.
  void send_all(const cluster::CoordinatorMessage& message);
  bool all_have(const std::string& task) const;  // the Task of this name
  void send(int rank, const cluster::CoordinatorMessage& message);

  // Stop to the ranks, a grace, then kill.
  void stop(const std::string& reason, std::chrono::milliseconds grace);
  void kill();
  bool ending() const { return ending_; }
  const std::string& waiting() const { return waiting_; }  // why the ranks do not run yet; empty: they do

  const GangSessionOptions& options() const { return options_; }
  std::vector<RankView> ranks() const;
  const std::string& build() const { return build_; }

 private:
  struct Rank {
    cluster::ConnectionId connection = 0;  // 0: none
    bool said_hello = false;
    std::string task;  // name of the last that it was given
    int64_t pid = 0;
    cluster::Heartbeat heartbeat;
    SteadyTime heard{};
    std::chrono::milliseconds silence{};  // the last long one that it has broken, and when
    SteadyTime silence_over{};
    bool beaten = false;  // a heartbeat came
    bool finished = false;
    cluster::Finished result;
    std::string host;
    int64_t silent_ms_at_fault = 0;
    bool left_first = false;    // its connection's end was the first sign of trouble
    cluster::Finished failure;  // code kOk: none
    std::optional<Flight> flight;
    SteadyTime flown{};
    uint64_t answered = 0;  // the newest FlightRequest that it answered
  };
  void hear(Rank& rank);  // it has just spoken
  // How long the rank had been silent at `when`, or just before.
  static std::chrono::milliseconds silence_before(const Rank& rank, SteadyTime when);
  struct FlightWait {
    uint64_t request = 0;
    std::function<void()> done;
  };

  void launched(std::shared_ptr<cluster::Gang> gang);
  void tick();
  void check_silence();
  void heed_notice();
  void decide();
  void end_flight_waits(uint64_t request, bool all);
  void end(bool ask_first);
  std::string log_tail() const;

  const GangSessionOptions options_;
  const Callbacks callbacks_;
  Dispatcher& dispatcher_;
  BlockingPool& pool_;
  cluster::Launcher& launcher_;
  cluster::RpcServer& rpc_;
  std::shared_ptr<cluster::Gang> gang_;  // shared with the one pool task that ends it
  std::vector<Rank> ranks_;
  std::string build_;    // of the ranks; empty: none has said hello
  int build_rank_ = -1;  // who said so first
  SteadyTime started_{};
  std::string waiting_;
  bool withdrawn_ = false;  // reported
  bool launching_ = false;
  bool up_ = false;
  bool exited_ = false;  // mpirun is gone
  bool ending_ = false;
  bool ask_first_ = false;
  std::chrono::milliseconds grace_{0};  // between Stop and the kill
  bool reported_ = false;
  int fault_weight_ = 0;  // 0: none
  std::string fault_reason_;
  RetryClass fault_retry_ = RetryClass::kNewAttempt;
  SteadyTime fault_since_{};     // of the first sign
  uint64_t flight_request_ = 0;  // the newest
  std::vector<FlightWait> flight_waits_;
};

// Weights of explanations: when a gang breaks, several come at once and the heaviest is the cause.
inline constexpr int kFaultEcho = 1;    // a rank that lost its peer
inline constexpr int kFaultClosed = 2;  // a connection that closed without a word
inline constexpr int kFaultSilent = 3;  // no heartbeat
inline constexpr int kFaultExit = 4;    // a process that ended
inline constexpr int kFaultSaid = 5;    // a rank that said what went wrong

}  // namespace tephra::coordinator
