#include "worker/link.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

namespace tephra::worker {
namespace {
template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
}  // namespace

int64_t resident_bytes() {
  long pages = 0, resident = 0;
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  if (f == nullptr) return 0;
  if (std::fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
  std::fclose(f);
  return resident * sysconf(_SC_PAGESIZE);
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

void Link::heartbeat_loop(const Vitals* vitals) {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    lock.unlock();
    cluster::Heartbeat beat;
    beat.phase = vitals->phase.load();
    beat.step = vitals->step;
    beat.micro_batch = vitals->micro_batch;
    beat.collective_sequence = vitals->collective_sequence;
    beat.rss_bytes = resident_bytes();
    (void)client_->send(beat);  // a full queue drops a beat; a cut line ends the process through on_lost
    lock.lock();
    changed_.wait_for(lock, std::chrono::seconds(1), [&] { return closing_; });
  }
}

}  // namespace tephra::worker
