// Order, failure and ending of the communication thread.
#include "sharding/exec/comm_thread.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace tephra::sharding {
namespace {

TEST(CommThread, RunsInTheOrderOfSubmission) {
  CommThread thread;
  std::vector<int> order;
  std::vector<std::future<Status>> done;
  for (int i = 0; i < 100; ++i) {
    done.push_back(thread.submit([&order, i] {
      order.push_back(i);
      return ok_status();
    }));
  }
  for (auto& each : done) EXPECT_TRUE(each.get().ok());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

TEST(CommThread, AfterAFailureNothingRunsAndTheStatusStays) {
  CommThread thread;
  bool ran = false;
  auto first = thread.submit([] { return Status(Code::kPeerLost, "rank 1 is gone"); });
  auto second = thread.submit([&ran] {
    ran = true;
    return ok_status();
  });
  EXPECT_EQ(first.get().code(), Code::kPeerLost);
  EXPECT_EQ(second.get().message(), "rank 1 is gone");
  EXPECT_FALSE(ran);
}

TEST(CommThread, TurnsAnExceptionIntoAStatus) {
  CommThread thread;
  auto done = thread.submit([]() -> Status { throw std::runtime_error("boom"); });
  const Status status = done.get();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_NE(status.message().find("boom"), std::string::npos);
}

TEST(CommThread, DestructionEndsWhatIsQueued) {
  std::promise<void> started, release;
  std::future<Status> running, queued;
  std::thread opener;
  {
    CommThread thread;
    running = thread.submit([&] {
      started.set_value();
      release.get_future().wait();
      return ok_status();
    });
    queued = thread.submit([] { return ok_status(); });
    started.get_future().wait();
    opener = std::thread([&release] { release.set_value(); });
  }
  opener.join();
  EXPECT_TRUE(running.get().ok());
  // The release may come before the destructor begins; then the second one still ran.
  const Status status = queued.get();
  EXPECT_TRUE(status.ok() || status.code() == Code::kCancelled) << status.to_string();
}

}  // namespace
}  // namespace tephra::sharding
