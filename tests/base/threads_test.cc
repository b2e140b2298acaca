// parallel_each and parallel_for run everything once; the latter stops after a failure, and says which came first.
#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>

namespace tephra {
namespace {

TEST(ParallelEach, RunsEachIndexOnce) {
  for (const int threads : {0, 1, 3, 64}) {
    std::vector<std::atomic<int>> runs(20);
    parallel_each(runs.size(), threads, [&](size_t i) { ++runs[i]; });
    for (const auto& count : runs) EXPECT_EQ(count, 1);
  }
}

TEST(ParallelFor, RunsEachIndexOnce) {
  for (const int threads : {0, 1, 3, 64}) {
    std::vector<std::atomic<int>> runs(20);
    EXPECT_TRUE(parallel_for(runs.size(), threads, [&](size_t i) {
                  ++runs[i];
                  return ok_status();
                }).ok());
    for (const auto& count : runs) EXPECT_EQ(count, 1);
  }
  EXPECT_TRUE(parallel_for(0, 4, [](size_t) { return Status(Code::kInternal, "not called"); }).ok());
}

TEST(ParallelFor, StopsAfterAFailureAndGivesTheLowest) {
  std::atomic<int> runs{0};
  const Status alone = parallel_for(100, 1, [&](size_t i) {
    ++runs;
    return i < 3 ? ok_status() : Status(Code::kIo, "at " + std::to_string(i));
  });
  EXPECT_EQ(alone.message(), "at 3");
  EXPECT_EQ(runs, 4);
  const Status all = parallel_for(8, 8, [](size_t i) { return Status(Code::kIo, "at " + std::to_string(i)); });
  EXPECT_EQ(all.message(), "at 0") << "the first index always begins";
}

}  // namespace
}  // namespace tephra
