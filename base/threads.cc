#include "base/threads.h"

#include <algorithm>
#include <atomic>

namespace tephra {

Dispatcher::Dispatcher() : thread_([this] { loop(); }) {}

Dispatcher::~Dispatcher() { stop(); }

void Dispatcher::post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    queue_.push_back(std::move(work));
  }
  changed_.notify_one();
}

void Dispatcher::post_after(std::chrono::milliseconds delay, std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    timers_.emplace(std::chrono::steady_clock::now() + delay, std::move(work));
  }
  changed_.notify_one();
}

void Dispatcher::call(const std::function<void()>& work) {
  if (on_thread()) return work();
  struct Done {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  auto done = std::make_shared<Done>();
  bool taken = false;
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      taken = true;
      queue_.push_back([done, &work] {
        work();
        std::lock_guard done_lock(done->mutex);
        done->done = true;
        done->changed.notify_all();
      });
    }
  }
  if (!taken) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopped_; });
    }
    std::lock_guard lock(after_stop_);
    return work();
  }
  changed_.notify_one();
  std::unique_lock lock(done->mutex);
  done->changed.wait(lock, [&] { return done->done; });
}

bool Dispatcher::on_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

void Dispatcher::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void Dispatcher::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (!timers_.empty() && timers_.begin()->first <= std::chrono::steady_clock::now() && !stopping_) {
      queue_.push_back(std::move(timers_.begin()->second));
      timers_.erase(timers_.begin());
    }
    if (!queue_.empty()) {
      std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      work();
      work = nullptr;  // what it holds goes before the lock is taken
      lock.lock();
      continue;
    }
    if (stopping_) {
      timers_.clear();
      return;
    }
    if (timers_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, timers_.begin()->first);
    }
  }
}

BlockingPool::BlockingPool(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { loop(); });
}

BlockingPool::~BlockingPool() { stop(); }

bool BlockingPool::post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return false;
    queue_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

void BlockingPool::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void BlockingPool::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

void parallel_each(size_t count, int threads, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) work(i);
  };
  std::vector<std::thread> others;
  for (size_t t = 1; t < std::min(count, static_cast<size_t>(std::max(1, threads))); ++t) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
}

Status parallel_for(size_t count, int threads, const std::function<Status(size_t)>& work) {
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  size_t failed = count;  // the lowest index that did
  Status failure;
  parallel_each(count, threads, [&](size_t i) {
    if (stopped) return;
    Status status = work(i);
    if (status.ok()) return;
    stopped = true;
    std::lock_guard lock(mutex);
    if (i < failed) failed = i, failure = std::move(status);
  });
  return failure;
}

void Lane::post(std::function<void()> work) {
  {
    std::lock_guard lock(state_->mutex);
    state_->queue.push_back(std::move(work));
    if (state_->running) return;
    state_->running = true;
  }
  if (state_->pool.post([state = state_] { run(state); })) return;
  // The pool has stopped: nothing runs any more, and what the work holds must not keep the lane alive.
  std::deque<std::function<void()>> dropped;
  std::lock_guard lock(state_->mutex);
  dropped.swap(state_->queue);
  state_->running = false;
}

void Lane::run(const std::shared_ptr<State>& state) {
  for (;;) {
    std::function<void()> work;
    {
      std::lock_guard lock(state->mutex);
      if (state->queue.empty()) {
        state->running = false;
        return;
      }
      work = std::move(state->queue.front());
      state->queue.pop_front();
    }
    work();
  }
}

}  // namespace tephra
