#include "worker/link.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "base/overloaded.h"

namespace tephra::worker {
namespace {
constexpr int64_t kStepsKept = 512;
constexpr std::chrono::milliseconds kDial{500}, kBetweenTries{100};
constexpr std::chrono::seconds kFlush{60};
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

Result<std::shared_ptr<cluster::RpcClient>> Link::dial(const std::string& address, Deadline deadline) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return Status(Code::kInvalidArgument, "--coordinator wants HOST:PORT");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  cluster::RpcClient::Handlers handlers;
  handlers.on_message = [this](cluster::CoordinatorMessage m) { handle(std::move(m)); };
  handlers.on_closed = [this](const Status& reason) { cut(reason); };
  TEPHRA_ASSIGN_OR_RETURN(
      auto client, cluster::RpcClient::connect(host, static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)),
                                               std::move(handlers), deadline));
  return std::shared_ptr<cluster::RpcClient>(std::move(client));
}

Result<std::unique_ptr<Link>> Link::connect(LinkOptions options, const cluster::Hello& hello, Deadline deadline) {
  std::unique_ptr<Link> link(new Link(std::move(options), hello));
  TEPHRA_ASSIGN_OR_RETURN(link->client_, link->dial(link->options_.coordinator, deadline));
  TEPHRA_RETURN_IF_ERROR(link->client_->send(hello));
  return link;
}

Link::~Link() {
  std::shared_ptr<cluster::RpcClient> client;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    client = client_;
  }
  changed_.notify_all();
  if (heartbeat_.joinable()) heartbeat_.join();
  if (client) client->close();
}

// On the io thread of the client that ended. A gang that is being ended, or that nobody may take back, ends here.
void Link::cut(const Status& reason) {
  {
    std::lock_guard lock(mutex_);
    if (options_.reattach.count() > 0 && !stop_ && !closing_) {
      cut_reason_ = reason;
      cut_at_ = std::chrono::steady_clock::now();
      changed_.notify_all();
      return;
    }
  }
  options_.on_lost(reason);
}

void Link::remember(const cluster::RankMessage& message) {
  const auto* step = std::get_if<cluster::StepProgress>(&message);
  if (step == nullptr && !std::holds_alternative<cluster::ShardWritten>(message) &&
      !std::holds_alternative<cluster::Answers>(message) && !std::holds_alternative<cluster::Finished>(message))
    return;
  if (step != nullptr)
    forget<cluster::StepProgress>([step](const auto& old) { return old.step + kStepsKept <= step->step; });
  unsettled_.push_back({++said_, message});
}

template <class Message, class Which>
void Link::forget(Which which) {
  std::erase_if(unsettled_, [&](const Unsettled& u) {
    const auto* message = std::get_if<Message>(&u.message);
    return message != nullptr && which(*message);
  });
}

// In order, until nothing is new; from then on send() uses the client.
void Link::say_again(const std::shared_ptr<cluster::RpcClient>& client) {
  for (uint64_t heard = 0;;) {
    std::vector<cluster::RankMessage> more;
    {
      std::lock_guard lock(mutex_);
      for (const Unsettled& u : unsettled_)
        if (u.number > heard) more.push_back(u.message);
      heard = said_;
      if (more.empty()) {
        client_ = client;
        return;
      }
    }
    for (const cluster::RankMessage& message : more)
      while (client->send(message).code() == Code::kBusy) (void)client->flush(Deadline::after(kFlush));
  }
}

// On the heartbeat thread, with the line cut: one try. What is sent while it is made is in `unsettled_`.
void Link::look_for_coordinator(std::unique_lock<std::mutex>& lock) {
  if (std::chrono::steady_clock::now() - cut_at_ > options_.reattach) {
    const Status reason = cut_reason_;
    lock.unlock();
    options_.on_lost({reason.code(), reason.message() + ", and none took this rank back within " +
                                         std::to_string(options_.reattach.count() / 1000) + " s"});
    lock.lock();
    return;
  }
  // Cleared before there is a new line, which may be cut at once.
  const Status reason = std::exchange(cut_reason_, Status());
  const cluster::Hello hello = hello_;
  lock.unlock();
  std::string address = options_.coordinator;
  if (std::string now; std::ifstream(options_.coordinator_file) >> now) address = now;
  bool dialled = false;
  {  // a client that is not kept ends here, without the lock, which its io thread may want
    const auto client = dial(address, Deadline::after(kDial));
    dialled = client.ok();
    if (dialled && (*client)->send(hello).ok()) say_again(*client);
  }
  lock.lock();
  if (!dialled) cut_reason_ = reason;
}

void Link::handle(cluster::CoordinatorMessage message) {
  std::visit(Overloaded{[&](cluster::Task& task) {
                          std::lock_guard lock(mutex_);
                          hello_.task = task.name;
                          // Whoever gives it has heard how the one before ended.
                          forget<cluster::Answers>([](const auto&) { return true; });
                          forget<cluster::Finished>([](const auto&) { return true; });
                          tasks_.push_back(std::move(task));
                        },
                        [&](cluster::Committed& c) {
                          std::lock_guard lock(mutex_);
                          forget<cluster::ShardWritten>(
                              [&](const auto& shard) { return shard.stage == c.stage && shard.step == c.step; });
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
                          options_.on_lost(Status(Code::kMismatch, "the coordinator refused this rank: " + r.message));
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
  std::shared_ptr<cluster::RpcClient> client;
  {
    std::lock_guard lock(mutex_);
    remember(message);
    client = client_;
  }
  for (;;) {
    if (client == nullptr) return ok_status();
    const Status status = client->send(message);
    if (status.code() == Code::kBusy) {
      (void)client->flush(Deadline::after(kFlush));
    } else {
      // A line that is cut: the next coordinator hears it.
      return options_.reattach.count() > 0 ? ok_status() : status;
    }
  }
}

Status Link::flush(Deadline deadline) {
  std::shared_ptr<cluster::RpcClient> client;
  {
    std::lock_guard lock(mutex_);
    client = client_;
  }
  return client == nullptr ? cut_reason_ : client->flush(deadline);
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

void Link::send_flight(const Vitals& vitals) { (void)send(cluster::FlightReport{0, vitals.flight.snapshot()}); }

void Link::heartbeat_loop(const Vitals* vitals) {
  constexpr std::chrono::seconds kInterval{1};
  SteadyTime next_beat = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!closing_) {
    if (!cut_reason_.ok()) {
      if (client_ != nullptr) {
        const auto ended = std::exchange(client_, nullptr);
        lock.unlock();
        ended->close();
        lock.lock();
      }
      look_for_coordinator(lock);
      if (client_ == nullptr) changed_.wait_for(lock, kBetweenTries, [&] { return closing_; });
      continue;
    }
    const std::shared_ptr<cluster::RpcClient> client = client_;
    const cluster::FlightRequest wanted = std::exchange(wanted_flight_, {});
    lock.unlock();
    // A full queue drops a beat or a flight.
    if (wanted.request != 0)
      (void)client->send(cluster::FlightReport{wanted.request, vitals->flight.snapshot(wanted.records_max)});
    if (std::chrono::steady_clock::now() >= next_beat) {
      (void)client->send(heartbeat_of(*vitals));
      next_beat = std::chrono::steady_clock::now() + kInterval;
    }
    lock.lock();
    changed_.wait_until(lock, next_beat, [&] { return closing_ || wanted_flight_.request != 0 || !cut_reason_.ok(); });
  }
}

}  // namespace tephra::worker
