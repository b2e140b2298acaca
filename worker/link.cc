#include "worker/link.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tephra::worker {
namespace {
template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;
}  // namespace

int64_t resident_bytes() {
  long pages = 0, resident = 0;
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  if (f == nullptr) return 0;
  if (std::fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
  std::fclose(f);
  return resident * sysconf(_SC_PAGESIZE);
}

cluster::Heartbeat heartbeat_of(const Vitals& vitals) {
  const Flight flight = vitals.flight.snapshot(0);
  const auto ms = [&](const FlightRecord& record) { return (flight.now_ns - record.begin_ns) / 1'000'000; };
  cluster::Heartbeat beat;
  beat.phase = vitals.phase.load();
  beat.step = vitals.step;
  beat.rss_bytes = resident_bytes();
  beat.collective_sequence = flight.sequence;
  for (const FlightRecord& record : flight.records) {
    const std::string name(flight_op_name(record.op));
    if (record.track == FlightTrack::kCompute) {
      beat.phase = name;
      beat.unit = flight.unit_name(record);
      beat.micro_batch = std::max(record.micro_batch, 0);
      beat.phase_ms = ms(record);
    }
    if (record.sequence > 0) {
      beat.collective = name;
      beat.collective_unit = flight.unit_name(record);
      beat.collective_ms = ms(record);
    }
  }
  beat.samples = flight.samples_in_flight();
  beat.in_step = flight.step > 0;
  return beat;
}

Result<std::unique_ptr<Link>> Link::connect(const std::string& host, uint16_t port, const cluster::Hello& hello,
                                            std::function<void(const Status&)> on_lost, Deadline deadline) {
  std::unique_ptr<Link> link(new Link());
  link->on_lost_ = std::move(on_lost);
  Link* self = link.get();
  cluster::RpcClient::Handlers handlers;
  handlers.on_message = [self](cluster::CoordinatorMessage m) { self->handle(std::move(m)); };
  handlers.on_closed = [self](const Status& reason) { self->on_lost_(reason); };
  TEPHRA_ASSIGN_OR_RETURN(link->client_, cluster::RpcClient::connect(host, port, std::move(handlers), deadline));
  TEPHRA_RETURN_IF_ERROR(link->client_->send(hello));
  return link;
}

Link::~Link() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (heartbeat_.joinable()) heartbeat_.join();
  if (client_) client_->close();
}

void Link::handle(cluster::CoordinatorMessage message) {
  std::visit(Overloaded{[&](cluster::Task& task) {
                          std::lock_guard lock(mutex_);
                          tasks_.push_back(std::move(task));
                        },
                        [&](cluster::Committed& c) {
                          std::lock_guard lock(mutex_);
                          Status status = c.ok ? ok_status() : Status(Code::kIo, RetryClass::kNewAttempt, c.message);
                          if (!c.ok && commit_failure_.ok()) commit_failure_ = status;
                          commits_[{c.stage, c.step}] = status;
                        },
                        [&](cluster::Stop&) { stop_ = true; },
                        [&](cluster::FlightRequest& request) {
                          std::lock_guard lock(mutex_);
                          wanted_flight_ = request;  // an answer to the newest is one to those before it
                        },
                        [&](cluster::Refused& r) {
                          on_lost_(Status(Code::kMismatch, "the coordinator refused this rank: " + r.message));
                        }},
             message);
  changed_.notify_all();
}

Result<cluster::Task> Link::next_task() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !tasks_.empty() || stop_; });
  if (tasks_.empty()) return Status(Code::kCancelled, "stopped by the coordinator");
  cluster::Task task = std::move(tasks_.front());
  tasks_.pop_front();
  return task;
}

Status Link::send(const cluster::RankMessage& message) {
  for (;;) {
    Status status = client_->send(message);
    if (status.code() != Code::kBusy) return status;
    TEPHRA_RETURN_IF_ERROR(client_->flush(Deadline::after(std::chrono::seconds(60))));
  }
}

Status Link::wait_committed(const std::string& stage, int64_t step, Deadline deadline) {
  std::unique_lock lock(mutex_);
  auto known = [&] { return commits_.contains({stage, step}); };
  // wait_until(max) overflows in libstdc++'s clock conversion, so an endless wait is a plain one.
  if (deadline.at == SteadyTime::max()) {
    changed_.wait(lock, known);
  } else if (!changed_.wait_until(lock, deadline.at, known)) {
    return {Code::kTimeout, "the coordinator did not commit " + stage + "@" + std::to_string(step) + " in time"};
  }
  return commits_[{stage, step}];
}

Status Link::commit_failure() const {
  std::lock_guard lock(mutex_);
  return commit_failure_;
}

void Link::start_heartbeat(const Vitals* vitals) {
  heartbeat_ = std::thread([this, vitals] { heartbeat_loop(vitals); });
}

void Link::send_flight(const Vitals& vitals) {
  (void)client_->send(cluster::FlightReport{0, vitals.flight.snapshot()});
}

void Link::heartbeat_loop(const Vitals* vitals) {
  constexpr std::chrono::seconds kInterval{1};
  SteadyTime next_beat = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!closing_) {
    const cluster::FlightRequest wanted = std::exchange(wanted_flight_, {});
    lock.unlock();
    // A full queue drops a beat or a flight; a cut line ends the process through on_lost.
    if (wanted.request != 0)
      (void)client_->send(cluster::FlightReport{wanted.request, vitals->flight.snapshot(wanted.records_max)});
    if (std::chrono::steady_clock::now() >= next_beat) {
      (void)client_->send(heartbeat_of(*vitals));
      next_beat = std::chrono::steady_clock::now() + kInterval;
    }
    lock.lock();
    changed_.wait_until(lock, next_beat, [&] { return closing_ || wanted_flight_.request != 0; });
  }
}

}  // namespace tephra::worker
