#include "base/pace.h"

#include <algorithm>

namespace tephra {

void Pace::start(uint64_t total, std::chrono::nanoseconds duration) {
  std::lock_guard lock(mutex_);
  started_ = std::chrono::steady_clock::now();
  nanoseconds_per_unit_ = static_cast<double>(duration.count()) / static_cast<double>(std::max<uint64_t>(total, 1));
  hurry_ = duration.count() <= 0;
}

void Pace::wait(uint64_t done) {
  std::unique_lock lock(mutex_);
  const auto share = std::chrono::nanoseconds(static_cast<int64_t>(nanoseconds_per_unit_ * static_cast<double>(done)));
  changed_.wait_until(lock, started_ + share, [&] { return hurry_; });
}

void Pace::hurry() {
  std::lock_guard lock(mutex_);
  hurry_ = true;
  changed_.notify_all();
}

}  // namespace tephra
