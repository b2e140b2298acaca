// Time as an argument, so that tests own it.
#pragma once

#include <chrono>
#include <cstdint>

namespace tephra {

using SteadyTime = std::chrono::steady_clock::time_point;

// The moment after which a wait gives up.
struct Deadline {
  SteadyTime at = SteadyTime::max();
  static Deadline never() { return {}; }
  static Deadline after(std::chrono::nanoseconds span) {
    return {std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(span)};
  }
  bool passed() const { return std::chrono::steady_clock::now() >= at; }
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t unix_ms() const = 0;  // wall clock, may jump
  virtual SteadyTime steady() const = 0;
  static const Clock& system();
};

}  // namespace tephra
