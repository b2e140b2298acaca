#include "coordinator/gang_session.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "cluster/http/http_server.h"
#include "coordinator/crypto.h"

namespace tephra::coordinator {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTick{100};
// A broken gang's explanations arrive within this time of each other; mpirun takes up to a second to notice a killed
// rank.
constexpr milliseconds kExplainSoon{200};
constexpr milliseconds kExplainLate{1500};
constexpr size_t kLogTailBytes = 600;
// A rank's heartbeat thread answers at once, whatever its other threads do; one that takes longer is stopped or gone.
constexpr milliseconds kFlightWait{1000};
constexpr size_t kFlightWaitsMax = 16;
// A heartbeat comes each second: after so long a rank was stopped. That it was counts for a while after it speaks again.
constexpr milliseconds kLongSilence{2500}, kAfterglow{10000};
// Of a whole gang, so that a large one's records stay a few megabytes of JSON; every rank gives at least its last few.
constexpr uint32_t kGangRecordsMax = 16'000, kRankRecordsMin = 64;

// Echoes: the rank is the victim of another's failure. A mismatch that is permanent is no collective's: the ranks have
// compared something and found it different.
bool is_echo(const cluster::Finished& finished) {
  if (finished.code == Code::kMismatch) return finished.retry != RetryClass::kPermanent;
  return finished.code == Code::kPeerLost || finished.code == Code::kTimeout || finished.code == Code::kCancelled;
}

}  // namespace

GangSession::GangSession(GangSessionOptions options, Callbacks callbacks, Dispatcher& dispatcher, BlockingPool& pool,
                         cluster::Launcher& launcher, cluster::RpcServer& rpc)
    : options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      dispatcher_(dispatcher),
      pool_(pool),
      launcher_(launcher),
      rpc_(rpc) {
  ranks_.resize(options_.world);
}

void GangSession::launch() {
  launching_ = true;
  started_ = std::chrono::steady_clock::now();
  auto self = shared_from_this();
  const bool taken = pool_.post([self] {
    Result<std::unique_ptr<cluster::Gang>> gang = self->launcher_.launch(self->options_.spec);
    std::shared_ptr<cluster::Gang> shared;
    const Status launched = gang.status();
    if (launched.ok()) shared = std::move(gang).value();
    self->dispatcher_.post([self, shared, status = launched] {
      self->launching_ = false;
      if (!status.ok()) {
        self->exited_ = true;
        self->fault(kFaultSaid, "the gang could not be started: " + status.message(), status.retry_class());
        self->decide();
      }
      self->launched(shared);
    });
  });
  if (!taken) launching_ = false;
}

void GangSession::adopt(std::shared_ptr<cluster::Gang> gang) {
  started_ = std::chrono::steady_clock::now();
  gang_ = std::move(gang);
  auto self = shared_from_this();
  dispatcher_.post_after(kTick, [self] { self->tick(); });
}

void GangSession::launched(std::shared_ptr<cluster::Gang> gang) {
  gang_ = std::move(gang);
  if (ending_) return end(ask_first_);
  if (gang_ == nullptr) return;
  callbacks_.on_launched(gang_->identity());
  auto self = shared_from_this();
  dispatcher_.post_after(kTick, [self] { self->tick(); });
}

Status GangSession::hello(cluster::ConnectionId connection, const cluster::Hello& hello) {
  if (hello.attempt != options_.attempt)
    return {Code::kMismatch, "attempt " + std::to_string(hello.attempt) + " is over; attempt " +
                                 std::to_string(options_.attempt) + " runs"};
  if (!cluster::equal_constant_time(sha256_hex(hello.token), options_.token_sha256))
    return {Code::kPermission, "the gang's token is wrong"};
  if (ending_) return {Code::kCancelled, "the gang is being ended"};
  if (hello.world_size != options_.world || hello.rank < 0 || hello.rank >= options_.world)
    return {Code::kMismatch, "rank " + std::to_string(hello.rank) + " of " + std::to_string(hello.world_size) +
                                 " in a gang of " + std::to_string(options_.world)};
  Rank& rank = ranks_[hello.rank];
  if (rank.said_hello) return {Code::kAlreadyExists, "rank " + std::to_string(hello.rank) + " said hello before"};
  if (!build_.empty() && build_ != hello.build) {
    const std::string reason = "rank " + std::to_string(build_rank_) + " is of build " + build_ + " and rank " +
                               std::to_string(hello.rank) + " of build " + hello.build +
                               "; install the same one everywhere";
    fault(kFaultSaid, reason, RetryClass::kPermanent);
    return {Code::kMismatch, reason};
  }
  if (build_.empty()) build_rank_ = hello.rank;
  build_ = hello.build;
  rank.connection = connection;
  rank.said_hello = true;
  rank.pid = hello.pid;
  rank.host = hello.host;
  rank.task = hello.task;
  hear(rank);
  if (!up_ && std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.said_hello; })) {
    up_ = true;
    callbacks_.on_up();
  }
  return ok_status();
}

void GangSession::hear(Rank& rank) {
  const SteadyTime now = std::chrono::steady_clock::now();
  const auto silent = std::chrono::duration_cast<milliseconds>(now - rank.heard);
  if (rank.said_hello && rank.heard != SteadyTime{} && silent >= kLongSilence) {
    rank.silence = silent;
    rank.silence_over = now;
  }
  rank.heard = now;
}

milliseconds GangSession::silence_before(const Rank& rank, SteadyTime when) {
  const auto since_heard = std::chrono::duration_cast<milliseconds>(when - rank.heard);
  return rank.silence > since_heard && when - rank.silence_over < kAfterglow ? rank.silence : since_heard;
}

void GangSession::heartbeat(int rank, const cluster::Heartbeat& heartbeat) {
  ranks_[rank].heartbeat = heartbeat;
  ranks_[rank].beaten = true;
  hear(ranks_[rank]);
}

void GangSession::finished(int rank, const cluster::Finished& finished) {
  hear(ranks_[rank]);
  if (ending_) return;
  if (finished.code != Code::kOk) {
    ranks_[rank].failure = finished;
    const Status status = finished.status();
    return fault(is_echo(finished) ? kFaultEcho : kFaultSaid, "rank " + std::to_string(rank) + ": " + status.message(),
                 is_echo(finished) ? RetryClass::kNewAttempt : status.retry_class());
  }
  ranks_[rank].finished = true;
  ranks_[rank].result = finished;
  if (!std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.finished; })) return;
  std::vector<cluster::Finished> results;
  for (Rank& r : ranks_) {
    results.push_back(r.result);
    r.finished = false;
  }
  callbacks_.on_finished(results);
}

void GangSession::connection_closed(int rank, const Status& reason) {
  ranks_[rank].connection = 0;
  if (ending_) return;
  ranks_[rank].left_first = fault_weight_ == 0;
  fault(reason.code() == Code::kCorruption ? kFaultSaid : kFaultClosed,
        "rank " + std::to_string(rank) + " (process " + std::to_string(ranks_[rank].pid) +
            ") closed its connection: " + reason.message(),
        RetryClass::kNewAttempt);
}

void GangSession::fault(int weight, const std::string& reason, RetryClass retry) {
  if (ending_ || reported_) return;
  if (fault_weight_ == 0) {
    fault_since_ = std::chrono::steady_clock::now();
    auto self = shared_from_this();
    dispatcher_.post_after(kExplainSoon, [self] { self->decide(); });
    dispatcher_.post_after(kExplainLate, [self] { self->decide(); });
    // Kept now: mpirun wakes a stopped rank (SIGCONT) when it ends the others, and it may speak again before it dies; it may
    // even have spoken before the word of the rank that gave up waiting for it was read.
    for (Rank& rank : ranks_) rank.silent_ms_at_fault = silence_before(rank, fault_since_).count();
    // Where the others are, before they are ended; those that can will have answered when it is decided.
    if (up_) (void)ask_flights(kFlightRecordsMax, nullptr);
  }
  if (weight <= fault_weight_) return;
  fault_weight_ = weight;
  fault_reason_ = reason;
  fault_retry_ = retry;
}

void GangSession::decide() {
  if (ending_ || reported_ || fault_weight_ == 0) return;
  // An echo or a closed connection has a cause that mpirun will tell; wait the longer time for it.
  const bool vague = fault_weight_ <= kFaultClosed && !exited_;
  if (vague && std::chrono::steady_clock::now() - fault_since_ < kExplainLate) return;
  reported_ = true;
  GangFlight flight = flights();
  flight.lost = true;
  flight.reason = fault_reason_;
  // The dispatcher sees a rank's last words and its flight in one order; what is vaguer than words gets ours.
  if (up_ && fault_weight_ != kFaultSaid) fault_reason_ += "; " + examine(flight).verdict;
  callbacks_.on_lost(fault_reason_, fault_retry_, flight);
}

void GangSession::flown(int rank, const cluster::FlightReport& report) {
  Rank& from = ranks_[rank];
  hear(from);
  from.flown = from.heard;
  from.flight = report.flight;
  from.answered = std::max(from.answered, report.request);
  end_flight_waits(flight_request_, false);
}

Status GangSession::ask_flights(uint32_t records_max, std::function<void()> done) {
  if (done && fault_weight_ > 0) {  // they were asked when it began to break, and may not be able to answer again
    done();
    return ok_status();
  }
  if (done && flight_waits_.size() >= kFlightWaitsMax)
    return {Code::kBusy, "too many have asked for the ranks' flights at once; ask again in a second"};
  const uint32_t share = std::max(kGangRecordsMax / static_cast<uint32_t>(options_.world), kRankRecordsMin);
  const cluster::FlightRequest request{++flight_request_, std::min<uint32_t>({records_max, share, kFlightRecordsMax})};
  if (done) flight_waits_.push_back({request.request, std::move(done)});
  for (Rank& rank : ranks_) {
    // A rank that has ended, or sent its last flight unasked, is not asked again, and its flight stays.
    if (rank.connection == 0 || rank.failure.code != Code::kOk) continue;
    rank.flight.reset();
    // What cannot be sent is seen by the connection's end, and is no fault of its own.
    (void)rpc_.send(rank.connection, request);
  }
  auto self = shared_from_this();
  dispatcher_.post_after(kFlightWait, [self, id = request.request] { self->end_flight_waits(id, true); });
  return ok_status();
}

// Calls back those whose request, up to `request`, every rank has answered; or all of them.
void GangSession::end_flight_waits(uint64_t request, bool all) {
  uint64_t answered = request;
  for (const Rank& rank : ranks_)
    if (rank.connection != 0 && rank.failure.code == Code::kOk) answered = std::min(answered, rank.answered);
  std::vector<std::function<void()>> done;
  std::erase_if(flight_waits_, [&](FlightWait& wait) {
    if (wait.request > (all ? request : answered)) return false;
    done.push_back(std::move(wait.done));
    return true;
  });
  for (const auto& call : done) call();
}

GangFlight GangSession::flights() const {
  GangFlight gang;
  gang.job = options_.job;
  gang.attempt = options_.attempt;
  const SteadyTime now = std::chrono::steady_clock::now();
  const auto ms_since = [now](SteadyTime then) { return std::chrono::duration_cast<milliseconds>(now - then).count(); };
  for (int i = 0; i < options_.world; ++i) {
    const Rank& from = ranks_[i];
    RankFlight rank;
    rank.rank = i;
    rank.pid = from.pid;
    rank.host = from.host;
    rank.connected = from.connection != 0;
    rank.left_first = from.left_first;
    if (from.said_hello) rank.silent_ms = fault_weight_ > 0 ? from.silent_ms_at_fault : ms_since(from.heard);
    rank.beaten = from.beaten;
    rank.heartbeat = from.heartbeat;
    rank.flight = from.flight;
    if (rank.flight) rank.flight_age_ms = ms_since(from.flown);
    if (from.failure.code != Code::kOk) {
      rank.said = from.failure.message;
      rank.echo = is_echo(from.failure);
    }
    gang.ranks.push_back(std::move(rank));
  }
  return gang;
}

void GangSession::send_all(const cluster::CoordinatorMessage& message) {
  const auto* task = std::get_if<cluster::Task>(&message);
  for (int i = 0; i < options_.world; ++i) {
    if (task != nullptr) {
      if (ranks_[i].task == task->name) continue;
      ranks_[i].task = task->name;
      ranks_[i].finished = false;
      ranks_[i].flight.reset();  // of the task before
    }
    send(i, message);
  }
}

bool GangSession::all_have(const std::string& task) const {
  return std::all_of(ranks_.begin(), ranks_.end(), [&](const Rank& rank) { return rank.task == task; });
}

void GangSession::send(int rank, const cluster::CoordinatorMessage& message) {
  if (ranks_[rank].connection == 0) return;  // its closing is a fault already
  const Status sent = rpc_.send(ranks_[rank].connection, message);
  if (!sent.ok() && !std::holds_alternative<cluster::Stop>(message))
    fault(kFaultClosed, "rank " + std::to_string(rank) + " cannot be reached: " + sent.message(),
          RetryClass::kNewAttempt);
}

void GangSession::tick() {
  if (ending_) return;  // from here on the gang belongs to the pool task that ends it
  if (const std::optional<cluster::ExitInfo> exit = gang_->poll(); exit.has_value() && !exited_) {
    exited_ = true;
    if (exit->withdrawn && !withdrawn_ && fault_weight_ == 0) {
      withdrawn_ = true;
      return callbacks_.on_withdrawn(exit->description);
    }
    std::string reason = exit->description.empty() ? "the gang ended" : exit->description;
    if (!up_) {
      const std::string tail = log_tail();
      reason += " before every rank had connected";
      if (!tail.empty()) reason += "; its last words: " + tail;
    }
    fault(kFaultExit, reason, RetryClass::kNewAttempt);
    // A rank's own words may be under way; after kExplainSoon the decision comes by its timer.
    if (fault_weight_ != kFaultExit || std::chrono::steady_clock::now() - fault_since_ >= kExplainSoon) decide();
  }
  heed_notice();
  check_silence();
  auto self = shared_from_this();
  if (!ending_) dispatcher_.post_after(kTick, [self] { self->tick(); });
}

// What the cluster's own scheduler says of the gang.
void GangSession::heed_notice() {
  const cluster::GangNotice notice = gang_->notice();
  if (!notice.waiting.empty()) started_ = std::chrono::steady_clock::now();  // the ranks' time to start begins later
  if (notice.waiting != waiting_) {
    waiting_ = notice.waiting;
    if (!waiting_.empty()) callbacks_.on_waiting(waiting_);
  }
  if (notice.ending.empty() || withdrawn_) return;
  withdrawn_ = true;
  callbacks_.on_withdrawn(notice.ending);
}

void GangSession::check_silence() {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (!up_) {
    if (now - started_ < options_.start_timeout) return;
    std::string missing;
    for (int i = 0; i < options_.world; ++i)
      if (!ranks_[i].said_hello) missing += (missing.empty() ? "" : ", ") + std::to_string(i);
    return fault(kFaultSilent,
                 "rank " + missing + " did not connect within " +
                     std::to_string(options_.start_timeout.count() / 1000) + " s; see " + options_.spec.log_dir +
                     "/gang.log",
                 RetryClass::kNewAttempt);
  }
  for (int i = 0; i < options_.world; ++i) {
    if (ranks_[i].connection == 0 || now - ranks_[i].heard < options_.heartbeat_timeout) continue;
    const cluster::Heartbeat& last = ranks_[i].heartbeat;
    std::string where = ranks_[i].beaten
                            ? " in '" + last.phase + (last.unit.empty() ? "" : " " + last.unit) + "', step " +
                                  std::to_string(last.step) + ", collective " + std::to_string(last.collective_sequence)
                            : std::string();
    fault(kFaultSilent,
          "rank " + std::to_string(i) + " (process " + std::to_string(ranks_[i].pid) + ") has been silent for " +
              std::to_string(options_.heartbeat_timeout.count() / 1000) + " s" + where,
          RetryClass::kNewAttempt);
  }
}

void GangSession::stop(const std::string& reason, milliseconds grace) {
  if (ending_) return;
  grace_ = grace;
  const bool heard = up_ && !exited_;
  if (heard) send_all(cluster::Stop{reason});
  end(heard);
}

void GangSession::kill() {
  if (!ending_) end(false);
}

void GangSession::end(bool ask_first) {
  ending_ = true;
  ask_first_ = ask_first;
  if (launching_) return;  // launched() comes back here
  auto self = shared_from_this();
  auto finish = [self] {
    for (Rank& rank : self->ranks_)
      if (rank.connection != 0) self->rpc_.close(rank.connection);
    self->callbacks_.on_ended();
  };
  if (gang_ == nullptr) return dispatcher_.post(finish);
  const milliseconds grace = ask_first ? grace_ : milliseconds(0);
  const bool taken = pool_.post([self, grace, finish] {
    if (grace.count() > 0) (void)self->gang_->wait(Deadline::after(grace));
    // Also after a clean end: a rank's own children, or a rank whose mpirun died first, may be left.
    const Status killed = self->gang_->kill_hard();
    if (!killed.ok())
      log::error("a gang could not be ended", {{"job", self->options_.job}, {"reason", killed.message()}});
    self->dispatcher_.post(finish);
  });
  if (!taken) dispatcher_.post(finish);
}

std::vector<RankView> GangSession::ranks() const {
  std::vector<RankView> views;
  const SteadyTime now = std::chrono::steady_clock::now();
  for (int i = 0; i < options_.world; ++i) {
    const Rank& rank = ranks_[i];
    RankView view;
    view.rank = i;
    view.pid = rank.pid;
    view.host = rank.host;
    view.connected = rank.connection != 0;
    view.heartbeat = rank.heartbeat;
    if (rank.beaten) view.heartbeat_age_ms = std::chrono::duration_cast<milliseconds>(now - rank.heard).count();
    views.push_back(std::move(view));
  }
  return views;
}

std::string GangSession::log_tail() const {
  std::ifstream in(options_.spec.log_dir + "/gang.log", std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<size_t>(in.tellg());
  const size_t count = std::min(size, kLogTailBytes);
  std::string tail(count, '\0');
  in.seekg(static_cast<std::streamoff>(size - count));
  in.read(tail.data(), static_cast<std::streamsize>(count));
  if (count < size) tail.erase(0, tail.find('\n') == std::string::npos ? 0 : tail.find('\n') + 1);
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  for (char& c : tail)
    if (static_cast<unsigned char>(c) < 0x20) c = c == '\n' ? '|' : ' ';
  return tail;
}

}  // namespace tephra::coordinator
