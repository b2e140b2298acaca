// gc's second half: what lives in a mostly dead pack moves, and nobody who commits or reads meanwhile notices more than
// that a pack is elsewhere. Invariants after every step, whatever fails: every checkpoint that is listed verifies and
// holds its bytes; at the end no file is left that the index does not know.
#include <atomic>
#include <thread>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class StoreRewriteTest : public StoreFixture {
 protected:
  // j/s@2 keeps one small tensor of the pack that j/s@1 wrote; the rest of it is dead once j/s@1 is gone.
  void make_mostly_dead() {
    first_ = *save("j", "s", 1, {small_, large_});
    TEPHRA_ASSERT_OK(save("j", "s", 2, {make_tensor("large", {50, 100}, 2)}, 1, &first_));
    TEPHRA_ASSERT_OK(store_->remove("j/s@1"));
  }
  const TestTensor small_ = make_tensor("small", {10}, 1), large_ = make_tensor("large", {50, 100}, 1);
  const std::string old_pack_ = pack_name("j", 0, "s", 1, 0) + ".pack";
  Manifest first_;
};

TEST_F(StoreRewriteTest, LiveChunksMoveAndTheDeadOnesSpaceIsGivenBack) {
  make_mostly_dead();
  const uint64_t before = store_->stat()->physical_bytes;
  EXPECT_EQ(store_->stat()->dead_bytes, large_.bytes.size());
  auto old_reader = store_->reader("j/s@2");
  TEPHRA_ASSERT_OK(old_reader);
  auto dry = store_->gc(true);
  TEPHRA_ASSERT_OK(dry);
  EXPECT_EQ(dry->rewritten, std::vector<std::string>{old_pack_});
  EXPECT_GE(dry->bytes, large_.bytes.size());
  EXPECT_EQ(dry->by_pack, (std::map<std::string, uint64_t>{{old_pack_, dry->bytes}}));
  EXPECT_EQ(store_->stat()->physical_bytes, before) << "a dry run changes nothing";
  auto report = store_->gc(false);
  TEPHRA_ASSERT_OK(report);
  EXPECT_EQ(report->rewritten, std::vector<std::string>{old_pack_});
  EXPECT_EQ(store_->stat()->physical_bytes, before - report->bytes);
  EXPECT_EQ(store_->stat()->dead_bytes, 0u);
  const auto files = pack_files();
  EXPECT_EQ(files.size(), 2u);
  EXPECT_EQ(std::count(files.begin(), files.end(), old_pack_), 0);
  expect_holds("j/s@2", {small_, make_tensor("large", {50, 100}, 2)});
  std::vector<float> out(10);
  Status moved = (*old_reader)->read_float32("small", 0, 10, out.data());
  EXPECT_EQ(moved.code(), Code::kNotFound);
  EXPECT_NE(moved.message().find("open it again"), std::string::npos) << moved.message();
  EXPECT_TRUE(store_->gc(false)->rewritten.empty()) << "once is enough";
  store_.reset();
  open();
  expect_holds("j/s@2", {small_});
}

TEST_F(StoreRewriteTest, PacksThatAGangMayReadStay) {
  make_mostly_dead();
  TEPHRA_ASSERT_OK(store_->acquire_lease({pack_prefix("k", 1), "job k attempt 1", {"j/s@2"}}));
  EXPECT_TRUE(store_->gc(false)->rewritten.empty());
  TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix("k", 1)));
  EXPECT_EQ(store_->gc(false)->rewritten.size(), 1u);
}

TEST_F(StoreRewriteTest, ADamagedPackIsLeftForVerifyToName) {
  make_mostly_dead();
  TEPHRA_ASSERT_OK(save("j", "s", 3, {make_tensor("large", {50, 100}, 3)}, 1, &first_));
  const std::string pack = dir_ / ("store/packs/" + old_pack_);
  for (uint64_t at = 64; at < 64 + small_.bytes.size(); at += 16) TEPHRA_ASSERT_OK(env_.flip_bit(pack, at, 1));
  EXPECT_TRUE(store_->gc(false)->rewritten.empty());
  const auto report = store_->verify("j/s@2");
  TEPHRA_ASSERT_OK(report);
  ASSERT_EQ(report->problems.size(), 1u);
  EXPECT_EQ(report->problems[0].tensor, "small");
  EXPECT_EQ(report->problems[0].rank, 0);
  EXPECT_EQ(report->problems[0].pack + ".pack", old_pack_);
  EXPECT_EQ(report->problems[0].also_needed_by, std::vector<std::string>{"j/s@3"});
}

TEST_F(StoreRewriteTest, ACrashAtEveryOperationThenAnotherGc) {
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    const std::string job = "j" + std::to_string(n);
    auto first = save(job, "s", 1, {make_tensor("small", {10}, n), make_tensor("large", {5000}, n)});
    TEPHRA_ASSERT_OK(first);
    TEPHRA_ASSERT_OK(save(job, "s", 2, {make_tensor("large", {20}, n)}, 1, &*first));
    TEPHRA_ASSERT_OK(store_->remove(job + "/s@1"));
    env_.fail_nth(n, {.sticky = true, .tear = true}, true);
    auto report = store_->gc(false);
    fired = env_.fired();
    EXPECT_EQ(report.ok(), !fired);
    ASSERT_TRUE(env_.crash(n % 2 == 0).ok());
    open();
    expect_all_whole();
    auto again = store_->gc(false);
    TEPHRA_ASSERT_OK(again);
    EXPECT_EQ(pack_files().size(), static_cast<size_t>(store_->stat()->pack_count)) << "no file is unknown";
    EXPECT_EQ(store_->stat()->dead_bytes, 0u);
    expect_all_whole();
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 15);
}

TEST_F(StoreRewriteTest, CommitsAndReadersBesideGc) {
  std::atomic<bool> stop{false};
  std::atomic<int> collections{0};
  std::thread collector([&] {
    while (!stop) {
      const auto report = store_->gc(false);
      EXPECT_TRUE(report.ok()) << report.status().to_string();
      ++collections;
    }
  });
  // Each job writes a chunk that others wrote, and lost, before: gc may be about to move or drop it.
  const auto work = [&](int job) {
    const std::string name = "w" + std::to_string(job);
    for (int step = 1; step <= 25; ++step) {
      const std::vector<TestTensor> tensors{make_tensor("shared", {64}, static_cast<uint64_t>(step % 3)),
                                            make_tensor("own", {3000}, static_cast<uint64_t>(100 * job + step))};
      TEPHRA_ASSERT_OK(store_->acquire_lease({pack_prefix(name, step), name, {}}));
      auto committed = save(name, "s", step, tensors, 1, nullptr, step);
      TEPHRA_ASSERT_OK(committed);
      TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix(name, step)));
      const auto report = store_->verify(committed->name());
      TEPHRA_ASSERT_OK(report);
      // A pack may move between verify's look at the index and its reading; then it is found at its new place.
      if (!report->ok()) {
        const auto second = store_->verify(committed->name());
        EXPECT_TRUE(second->ok() || second->problems[0].message.find("gc") != std::string::npos)
            << second->problems[0].message;
      }
      if (step > 2) TEPHRA_ASSERT_OK(store_->remove(checkpoint_name(name, "s", step - 2)));
    }
  };
  std::thread a([&] { work(1); }), b([&] { work(2); });
  a.join();
  b.join();
  stop = true;
  collector.join();
  EXPECT_GT(collections, 1);
  EXPECT_EQ(store_->list()->size(), 4u);
  expect_all_whole();
  TEPHRA_ASSERT_OK(store_->gc(false));
  open();
  TEPHRA_ASSERT_OK(store_->gc(false));
  EXPECT_EQ(pack_files().size(), static_cast<size_t>(store_->stat()->pack_count));
  expect_all_whole();
}

}  // namespace
}  // namespace tephra::storage
