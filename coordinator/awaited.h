// A status that one thread waits for and another sets.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/status.h"

namespace tephra::coordinator {

class Awaited {
 public:
  void set(const Status& status) {
    std::lock_guard lock(mutex_);
    status_ = status;
    changed_.notify_all();
  }
  Status wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return status_.has_value(); });
    return *status_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Status> status_;
};

}  // namespace tephra::coordinator
