// The coordinator's two kinds of threads. Dispatcher: one thread with timers, the home of all job state; what runs
// there is short and never waits. BlockingPool: a few threads for what waits on disks and processes; results are posted
// back.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"

namespace tephra {

class Dispatcher {
 public:
  Dispatcher();
  ~Dispatcher();  // stop()
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Runs `work` on the thread, in the order of posting. Any thread. Dropped after stop().
  void post(std::function<void()> work);
  void post_after(std::chrono::milliseconds delay, std::function<void()> work);
  // Runs `work` on the thread and returns when it has run; at once when called on the thread itself. After stop() it
  // runs on the caller's thread, one caller at a time.
  void call(const std::function<void()>& work);
  bool on_thread() const;
  // Runs what was posted (timers that are not due are dropped), then joins.
  void stop();

 private:
  void loop();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::multimap<std::chrono::steady_clock::time_point, std::function<void()>> timers_;
  bool stopping_ = false;
  bool stopped_ = false;
  std::mutex after_stop_;
  std::thread thread_;  // last: starts when all else is there
};

class BlockingPool {
 public:
  explicit BlockingPool(int threads);
  ~BlockingPool();  // stop()
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // False after stop(): `work` was not taken.
  bool post(std::function<void()> work);
  // Runs what was posted, then joins.
  void stop();

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Runs work(0) to work(count - 1), each once, on up to `threads` threads, the caller's among them, and returns when all have
// ended. `work` must not throw and touches only what belongs to its index.
void parallel_each(size_t count, int threads, const std::function<void(size_t)>& work);
// The same for work that may fail: after a failure no more begin; the status is that of the lowest index that failed.
Status parallel_for(size_t count, int threads, const std::function<Status(size_t)>& work);

// Work that runs on a pool one after another, in order. Copies share the lane. Any thread.
class Lane {
 public:
  explicit Lane(BlockingPool& pool) : state_(std::make_shared<State>(pool)) {}
  void post(std::function<void()> work);

 private:
  struct State {
    explicit State(BlockingPool& p) : pool(p) {}
    BlockingPool& pool;
    std::mutex mutex;
    std::deque<std::function<void()>> queue;
    bool running = false;
  };
  static void run(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace tephra
