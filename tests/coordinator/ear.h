// What tests with fake ranks share: what the ranks are told to do, and what subscribers are told of it.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"

namespace tephra::coordinator {

// What the ranks read; unset again with the object.
struct Plan {
  explicit Plan(const char* json) { setenv("TEPHRA_FAKE_PLAN", json, 1); }
  ~Plan() { unsetenv("TEPHRA_FAKE_PLAN"); }
};

// Collects events and lets a test wait for one.
class Ear {
 public:
  Ear(Coordinator& coordinator, const std::string& job) : coordinator_(coordinator) {
    id_ = coordinator.subscribe(job, [this](const JobEvent& event) {
      std::lock_guard lock(mutex_);
      events_.push_back(event);
      changed_.notify_all();
    });
  }
  ~Ear() { coordinator_.unsubscribe(id_); }

  template <class P>
  bool wait_for(P predicate) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30),
                             [&] { return std::any_of(events_.begin(), events_.end(), predicate); });
  }
  bool wait_for_step(int64_t step) {
    return wait_for([step](const JobEvent& e) { return e.kind == JobEvent::Kind::kCheckpoint && e.step.step == step; });
  }
  std::vector<JobEvent> events() {
    std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  Coordinator& coordinator_;
  uint64_t id_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<JobEvent> events_;
};

}  // namespace tephra::coordinator
