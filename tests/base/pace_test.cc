// Paced work takes its time, and no longer once somebody waits for it.
#include "base/pace.h"

#include <gtest/gtest.h>

#include <thread>

namespace tephra {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::hours;
using std::chrono::milliseconds;

TEST(Pace, TakesItsShareOfTheTime) {
  Pace pace;
  const auto begin = Clock::now();
  pace.start(1000, milliseconds(40));
  pace.wait(250);
  EXPECT_GE(Clock::now() - begin, milliseconds(10));
  pace.wait(1000);
  EXPECT_GE(Clock::now() - begin, milliseconds(40));
}

TEST(Pace, DoesNotWaitWithoutATimeOrWhenLate) {
  Pace pace;
  pace.wait(5);  // before any start
  pace.start(10, milliseconds(0));
  pace.wait(10);
  pace.start(10, hours(1));
  pace.wait(0);
  pace.start(0, hours(1));
  pace.wait(0);
}

TEST(Pace, HurryEndsAWaitAndLaterOnesUntilTheNextStart) {
  Pace pace;
  pace.start(10, hours(1));
  std::thread worker([&] {
    pace.wait(5);
    pace.wait(10);
  });
  pace.hurry();
  worker.join();
  const auto begin = Clock::now();
  pace.start(10, milliseconds(20));
  pace.wait(10);
  EXPECT_GE(Clock::now() - begin, milliseconds(20));
}

}  // namespace
}  // namespace tephra
