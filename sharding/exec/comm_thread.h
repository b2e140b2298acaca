// The communication thread: runs collectives one after another, in the order in which they were submitted, which is the
// order of the schedule and so the same on every rank.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "base/status.h"

namespace tephra::sharding {

class CommThread {
 public:
  CommThread();
  // Waits for the collective in progress; those still queued end with kCancelled.
  ~CommThread();
  CommThread(const CommThread&) = delete;
  CommThread& operator=(const CommThread&) = delete;

  // The future gives the collective's status. After the first failure nothing is run any more and every later
  // submission gives that same status. What `work` reads and writes must live until then. The caller keeps the queue
  // short: it waits on what it submitted (the gathers ahead of the compute, one reduction and one exchange at most).
  std::future<Status> submit(std::function<Status()> work);
  void drain();  // blocks until nothing is queued or running

 private:
  struct Task {
    std::function<Status()> work;
    std::promise<Status> done;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queue_;
  bool running_ = false;
  bool stopping_ = false;
  Status failure_;  // touched by the thread only
  std::thread thread_;
};

}  // namespace tephra::sharding
