#include "sharding/exec/comm_thread.h"

#include <exception>

namespace tephra::sharding {
namespace {

Status guarded(const std::function<Status()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return Status(Code::kInternal, std::string("a collective threw: ") + error.what());
  }
}

}  // namespace

CommThread::CommThread() : thread_([this] { run(); }) {}

CommThread::~CommThread() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::future<Status> CommThread::submit(std::function<Status()> work) {
  Task task{std::move(work), {}};
  std::future<Status> result = task.done.get_future();
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(task));
  }
  changed_.notify_all();
  return result;
}

void CommThread::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return queue_.empty() && !running_; });
}

void CommThread::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    running_ = true;
    if (stopping_ && failure_.ok())
      failure_ = Status(Code::kCancelled, "the executor was destroyed before the collective ran");
    lock.unlock();
    Status status = failure_.ok() ? guarded(task.work) : failure_;
    if (failure_.ok()) failure_ = status;
    task.work = nullptr;  // releases what the closure holds before the waiter goes on
    task.done.set_value(std::move(status));
    lock.lock();
    running_ = false;
    changed_.notify_all();
  }
}

}  // namespace tephra::sharding
