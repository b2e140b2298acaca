// Spreads work over time, so that what runs beside it is slowed a little for long rather than much at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace tephra {

class Pace {
 public:
  // From now on `total` units of work are to take `duration`; zero: as fast as it goes. Ends an earlier hurry.
  void start(uint64_t total, std::chrono::nanoseconds duration);
  // Returns when as large a part of the duration has passed as `done` is of the total, or at once after hurry().
  void wait(uint64_t done);
  void hurry();  // any thread: there is no time left

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::chrono::steady_clock::time_point started_;
  double nanoseconds_per_unit_ = 0;
  bool hurry_ = true;
};

}  // namespace tephra
