// Saving and importing under faults. Whatever fails, at whatever operation: the checkpoint is wholly there or not at all, earlier
// ones stay whole, and after a restart the same save succeeds. (Faults of the index's own files: index_fault_test.cc.)
#include <gtest/gtest.h>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class StoreFaultTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    auto first = save("j", "s", 1, before_, 2);
    TEPHRA_ASSERT_OK(first);
  }

  // Everything that must hold at any time.
  void expect_whole_or_absent() {
    expect_all_whole();
    expect_holds("j/s@1", before_);
  }

  std::vector<TestTensor> before_ = small_model(1), after_ = small_model(2);
};

TEST_F(StoreFaultTest, ACrashAtEveryOperationOfASave) {
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    env_.fail_nth(n, {.sticky = true, .tear = true}, true);
    auto saved = save("j", "s", 2, after_, 2, nullptr, n);
    fired = env_.fired();
    EXPECT_EQ(saved.ok(), !fired);
    ASSERT_TRUE(env_.crash(n % 2 == 0).ok());
    if (n % 8 == 7 || !fired) open();  // a restart; not each time, because opening the index costs more than the rest
    expect_whole_or_absent();
    EXPECT_EQ(store_->get("j/s@2").ok(), !fired);
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 60);
  open();
  TEPHRA_ASSERT_OK(store_->gc(false));
  EXPECT_EQ(pack_files().size(), 4u) << "what the failed saves left is gone";
  expect_holds("j/s@2", after_);
}

TEST_F(StoreFaultTest, OneFailureAtEveryOperationThenTheSaveAgain) {
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    std::string job = "k" + std::to_string(n);
    env_.fail_nth(n, {.status = Status(Code::kIo, "zap")}, true);
    auto saved = save(job, "s", 2, after_, 1);
    fired = env_.fired();
    env_.disarm();
    if (!saved.ok()) {
      EXPECT_EQ(saved.status().code(), Code::kIo) << saved.status().to_string();
      EXPECT_FALSE(store_->get(job + "/s@2").ok());
      TEPHRA_ASSERT_OK(save(job, "s", 2, after_, 1, nullptr, 1));
    }
    expect_holds(job + "/s@2", after_);
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 30);
  expect_whole_or_absent();
}

// Invariants as above; the base is wholly there or not at all, the same import succeeds afterwards, and what failed ones
// wrote goes with gc.
TEST_F(StoreFaultTest, OneFailureAtEveryOperationOfAnImport) {
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    const auto model = small_model(100 + static_cast<uint64_t>(n));
    const auto parameters = std::vector<TestTensor>(model.begin(), model.begin() + 5);
    const MemorySource source(parameters);
    const ImportOptions options{.import_key = "model-" + std::to_string(n)};
    const size_t before = store_->list()->size();
    env_.fail_nth(n, {.status = Status(Code::kIo, "zap")}, true);
    auto imported = store_->import_tensors(source, options);
    fired = env_.fired();
    env_.disarm();
    if (!imported.ok()) {
      EXPECT_EQ(imported.status().code(), Code::kIo) << imported.status().to_string();
      EXPECT_EQ(store_->list()->size(), before) << "half an import is no checkpoint";
      imported = store_->import_tensors(source, options);
      TEPHRA_ASSERT_OK(imported);
    }
    EXPECT_EQ(store_->list()->size(), before + 1);
    expect_holds(imported->name(), parameters);
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 20);
  expect_whole_or_absent();
  TEPHRA_ASSERT_OK(store_->gc(false));
  expect_whole_or_absent();
  EXPECT_EQ(pack_files().size(), 2u + static_cast<size_t>(n)) << "the save's two and one of each import";
}

TEST_F(StoreFaultTest, ACrashAtEveryOperationOfAnImport) {
  const auto model = small_model(9);
  const auto parameters = std::vector<TestTensor>(model.begin(), model.begin() + 5);
  const MemorySource source(parameters);
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    env_.fail_nth(n, {.sticky = true, .tear = true}, true);
    const auto imported = store_->import_tensors(source, {});
    fired = env_.fired();
    EXPECT_EQ(imported.ok(), !fired);
    ASSERT_TRUE(env_.crash(n % 2 == 0).ok());
    if (n % 8 == 7 || !fired) open();
    expect_whole_or_absent();
    EXPECT_EQ(store_->list("base")->size(), fired ? 0u : 1u);
    if (HasFailure()) return;
    if (!fired) expect_holds(imported->name(), parameters);
  }
  EXPECT_GT(n, 20);
  TEPHRA_ASSERT_OK(store_->gc(false));
  EXPECT_EQ(pack_files().size(), 3u) << "what the failed imports left is gone";
}

TEST_F(StoreFaultTest, AFullDiskIsSaidAndLosesNothing) {
  env_.set_space_bytes(1000);
  auto saved = save("j", "s", 2, after_, 2);
  EXPECT_EQ(saved.status().code(), Code::kNoSpace);
  EXPECT_EQ(saved.status().retry_class(), RetryClass::kNeedsOperator);
  env_.set_space_bytes({});
  expect_whole_or_absent();
  TEPHRA_ASSERT_OK(save("j", "s", 2, after_, 2, nullptr, 1));
  expect_holds("j/s@2", after_);
}

TEST_F(StoreFaultTest, TheCommitIsInvisibleBeforeTheBatchAndAtOnceAfterIt) {
  std::vector<ShardSummary> shards;
  for (int rank = 0; rank < 2; ++rank) {
    auto shard = write_shard(env_, store_->packs_dir(), pack_name("j", 0, "s", 2, rank), after_, rank, 2);
    TEPHRA_ASSERT_OK(shard);
    shards.push_back(*shard);
  }
  Manifest manifest;
  manifest.job = "j";
  manifest.stage = "s";
  manifest.step = 2;
  manifest.tensors = *merge(shards);
  EXPECT_EQ(*store_->resolve("j/s@latest"), "j/s@1");
  TEPHRA_ASSERT_OK(store_->commit(manifest, {shards[0].pack, shards[1].pack}, {{ColumnFamily::kJobs, "j", "step 2"}}));
  // Read from the disk by another handle, as a process that starts after a crash would: the batch was synced when
  // commit returned.
  auto other = Store::open(env_, dir_ / "store", OpenMode::kReadOnly);
  TEPHRA_ASSERT_OK(other);
  EXPECT_EQ(*(*other)->resolve("j/s@latest"), "j/s@2");
  EXPECT_EQ(*(*other)->read(ColumnFamily::kJobs, "j"), std::optional<std::string>("step 2"));
}

}  // namespace
}  // namespace tephra::storage
