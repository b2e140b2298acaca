// What ranks tell each other, on ranks that are threads: they hear the same, whatever the number of ranks, and a rank
// with another task is named before any work.
#include "worker/agreement.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

namespace tephra::worker {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }

void on_ranks(int world, const std::function<void(cluster::Communicator&)>& body) {
  auto members = cluster::make_thread_communicators(world);
  std::vector<std::thread> threads;
  for (auto& member : members) threads.emplace_back([&] { body(*member); });
  for (std::thread& thread : threads) thread.join();
}

cluster::Task task_of(const std::string& recipe, uint64_t start_step = 4) {
  cluster::Task task;
  task.kind = "train";
  task.stage = "align";
  task.recipe_json = recipe;
  task.start_step = start_step;
  return task;
}

TEST(CheckSameTask, AcceptsEqualOnesAndNamesBothThatDiffer) {
  const auto checked = [](const std::function<Status(cluster::Communicator&)>& check, const std::string& words) {
    on_ranks(4, [&](cluster::Communicator& c) {
      const Status status = check(c);
      EXPECT_EQ(status.code(), words.empty() ? Code::kOk : Code::kMismatch) << status.to_string();
      if (words.empty()) return;
      EXPECT_EQ(status.retry_class(), RetryClass::kPermanent);
      EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
    });
  };
  checked([](auto& c) { return check_same_task(c, "0.1.0+a", task_of("{}"), soon()); }, "");
  checked([](auto& c) { return check_same_task(c, c.rank() == 2 ? "0.1.0+b" : "0.1.0+a", task_of("{}"), soon()); },
          "rank 0 has build 0.1.0+a and rank 2 has build 0.1.0+b; install the same build everywhere");
  checked([](auto& c) { return check_same_task(c, "a", task_of(c.rank() == 3 ? "{\"x\":1}" : "{}"), soon()); },
          "rank 0 has recipe " + hash_text("{}").hex() + " and rank 3 has recipe " + hash_text("{\"x\":1}").hex());
  checked([](auto& c) { return check_same_task(c, "a", task_of("{}", c.rank() == 1 ? 5 : 4), soon()); },
          "and rank 1 has task ");
}

TEST(GatherTexts, OfAnyLengths) {
  on_ranks(4, [](cluster::Communicator& c) {
    const auto texts = gather_texts(c, std::string(static_cast<size_t>(c.rank()), 'x'), soon());
    ASSERT_TRUE(texts.ok()) << texts.status().to_string();
    EXPECT_EQ(*texts, (std::vector<std::string>{"", "x", "xx", "xxx"}));
  });
}

// Four micro-batches of two samples.
StepSamples samples_of(int rank, int world, const std::string& fourth = "d0") {
  StepSamples samples;
  for (int m = rank * 4 / world; m < (rank + 1) * 4 / world; ++m) {
    const std::string name(1, static_cast<char>('a' + m));
    samples.emplace_back(2);
    samples.back()[0].id = m == 3 ? fourth : name + "0";
    samples.back()[1].id = name + "1";
  }
  return samples;
}

TEST(AgreeOnStep, HashesTheSameIdsAlikeAtEveryWorldSizeAndStopsAllWithOne) {
  Hash128 expected;
  for (const int world : {1, 2, 4}) {
    on_ranks(world, [&](cluster::Communicator& c) {
      const auto agreed = agree_on_step(c, false, false, samples_of(c.rank(), world), soon());
      ASSERT_TRUE(agreed.ok()) << agreed.status().to_string();
      EXPECT_FALSE(agreed->stop);
      EXPECT_FALSE(agreed->busy);
      if (world == 1) expected = agreed->samples;
      EXPECT_EQ(agreed->samples, expected) << world;
      const auto other =
          agree_on_step(c, c.rank() == world - 1, c.rank() == 0, samples_of(c.rank(), world, "d9"), soon());
      ASSERT_TRUE(other.ok());
      EXPECT_TRUE(other->stop);
      EXPECT_TRUE(other->busy);
      EXPECT_NE(other->samples, expected) << "one id is another";
    });
  }
}

}  // namespace
}  // namespace tephra::worker
