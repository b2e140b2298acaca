// gc never removes what a checkpoint reaches, nor what a writer may hold, and everything else goes. The last test plays
// random operations against a plain map of what must be readable.
#include <gtest/gtest.h>

#include <set>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class StoreGcTest : public StoreFixture {
 protected:
  std::vector<std::string> collected(bool dry_run = false) {
    auto report = store_->gc(dry_run);
    EXPECT_TRUE(report.ok()) << report.status().to_string();
    return report.ok() ? report->packs : std::vector<std::string>{};
  }
};

TEST_F(StoreGcTest, RemovesOnlyWhatNoCheckpointReaches) {
  auto first = save("j", "s", 1, {make_tensor("w", {100}, 1)});
  TEPHRA_ASSERT_OK(first);
  TEPHRA_ASSERT_OK(save("j", "s", 2, {make_tensor("v", {100}, 2)}, 1, &*first));  // keeps the first one's w
  EXPECT_TRUE(collected().empty());
  TEPHRA_ASSERT_OK(store_->remove("j/s@1"));
  EXPECT_TRUE(collected().empty()) << "the child still reaches it";
  expect_holds("j/s@2", {make_tensor("w", {100}, 1), make_tensor("v", {100}, 2)});
  TEPHRA_ASSERT_OK(store_->remove("j/s@2"));
  uint64_t bytes = store_->stat()->physical_bytes;
  EXPECT_EQ(collected(true).size(), 2u);
  EXPECT_EQ(pack_files().size(), 2u) << "a dry run removes nothing";
  auto report = store_->gc(false);
  TEPHRA_ASSERT_OK(report);
  EXPECT_EQ(report->bytes, bytes);
  EXPECT_TRUE(pack_files().empty());
  EXPECT_EQ(store_->stat()->chunk_count, 0);
  EXPECT_EQ(store_->stat()->physical_bytes, 0u);
}

TEST_F(StoreGcTest, BytesThatWereCollectedCanBeSavedAgain) {
  std::vector<TestTensor> model{make_tensor("w", {100}, 1)};
  TEPHRA_ASSERT_OK(save("j", "s", 1, model));
  TEPHRA_ASSERT_OK(store_->remove("j/s@1"));
  EXPECT_EQ(collected().size(), 1u);
  TEPHRA_ASSERT_OK(save("j", "s", 1, model, 1, nullptr, 1));
  expect_holds("j/s@1", model);
}

TEST_F(StoreGcTest, TagsAndLeasesHoldCheckpoints) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("w", {100}, 1)}));
  TEPHRA_ASSERT_OK(store_->tag("gold", "j/s@1"));
  Status tagged = store_->remove("j/s@1");
  EXPECT_EQ(tagged.code(), Code::kBusy);
  EXPECT_NE(tagged.message().find("'gold'"), std::string::npos);
  TEPHRA_ASSERT_OK(store_->untag("gold"));
  EXPECT_EQ(store_->untag("gold").code(), Code::kNotFound);
  TEPHRA_ASSERT_OK(store_->acquire_lease({pack_prefix("k", 0), "job k attempt 0", {"j/s@1"}}));
  open();  // a lease outlives its process
  Status leased = store_->remove("j/s@1");
  EXPECT_EQ(leased.code(), Code::kBusy);
  EXPECT_NE(leased.message().find("job k attempt 0"), std::string::npos);
  EXPECT_EQ(store_->leases()->size(), 1u);
  TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix("k", 0)));
  TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix("k", 0)));
  TEPHRA_ASSERT_OK(store_->remove("j/s@1"));
  EXPECT_EQ(store_->acquire_lease({"p", "h", {"j/s@1"}}).code(), Code::kNotFound);
}

TEST_F(StoreGcTest, KeepsPacksOfWriters) {
  std::vector<TestTensor> model{make_tensor("w", {100}, 1)};
  TEPHRA_ASSERT_OK(store_->acquire_lease({pack_prefix("j", 1), "job j attempt 1", {}}));
  TEPHRA_ASSERT_OK(write_shard(env_, store_->packs_dir(), pack_name("j", 1, "s", 5, 0), model, 0, 1));
  auto open_writer = TensorWriter::create(env_, store_->packs_dir(), pack_name("j", 1, "s", 6, 0));
  TEPHRA_ASSERT_OK(open_writer);
  EXPECT_TRUE(collected().empty());
  open();
  EXPECT_TRUE(collected().empty()) << "the lease is still there";
  EXPECT_EQ(store_->gc(true)->kept_for_writers.size(), 2u);
  TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix("j", 1)));
  open_writer->reset();
  EXPECT_EQ(collected(), std::vector<std::string>{pack_name("j", 1, "s", 5, 0) + ".pack"});
}

TEST_F(StoreGcTest, UnknownPacksGoOnlyWhenNoWriterCanHaveThem) {
  std::vector<TestTensor> model{make_tensor("w", {100}, 1)};
  TEPHRA_ASSERT_OK(write_shard(env_, store_->packs_dir(), "stray", model, 0, 1));
  EXPECT_TRUE(collected().empty()) << "it appeared while the store was open";
  TEPHRA_ASSERT_OK(write_file_atomic(Env::posix(), dir_ / "store/packs/half.partial", "xx"));
  TEPHRA_ASSERT_OK(write_file_atomic(Env::posix(), dir_ / "store/packs/notes.txt", "mine"));
  open();
  EXPECT_EQ(collected(), (std::vector<std::string>{"half.partial", "stray.pack"}));
  EXPECT_EQ(pack_files(), std::vector<std::string>{"notes.txt"});
}

TEST_F(StoreGcTest, APrefixCoversOneAttemptOnly) {
  EXPECT_FALSE(pack_name("j", 10, "s", 1, 0).starts_with(pack_prefix("j", 1)));
  EXPECT_FALSE(pack_name("j.a1", 1, "s", 1, 0).starts_with(pack_prefix("j", 1)));
  EXPECT_TRUE(pack_name("j", 1, "s", 1, 0).starts_with(pack_prefix("j", 1)));
}

TEST_F(StoreGcTest, ACrashAtAnyOperationOfGcLosesNothingReachable) {
  std::vector<TestTensor> kept{make_tensor("w", {100}, 1)};
  TEPHRA_ASSERT_OK(save("keep", "s", 1, kept));
  int attempt = 0;
  for (bool fired = true; fired; ++attempt) {
    for (int64_t step : {1, 2})
      TEPHRA_ASSERT_OK(save("j", "s", step, {make_tensor("w", {100}, 100u + static_cast<uint64_t>(attempt * 2 + step))},
                            1, nullptr, attempt));
    for (int64_t step : {1, 2}) TEPHRA_ASSERT_OK(store_->remove(checkpoint_name("j", "s", step)));
    env_.fail_nth(attempt, {.sticky = true});
    bool done = store_->gc(false).ok();
    fired = env_.fired();
    EXPECT_EQ(done, !fired);
    ASSERT_TRUE(env_.crash().ok());
    open();
    EXPECT_TRUE(store_->verify("keep/s@1")->ok());
    (void)collected();
    EXPECT_EQ(pack_files().size(), 1u) << "the next gc finishes the work";
  }
  EXPECT_GE(attempt, 3);  // two removals, sync_directory
  expect_holds("keep/s@1", kept);
}

TEST_F(StoreGcTest, RandomOperationsAgainstAModel) {
  const uint64_t seed = 20240607;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::map<std::string, std::vector<TestTensor>> model;  // what must be readable, by name
  for (uint64_t i = 0; i < 60; ++i) {
    auto pick = [&](uint64_t bound, uint64_t salt) { return random_below(bound, {seed, i, salt}); };
    auto chosen = model.empty() ? model.end() : std::next(model.begin(), static_cast<long>(pick(model.size(), 1)));
    switch (pick(6, 0)) {
      case 0:
      case 1: {
        std::vector<TestTensor> tensors{make_tensor("w", {50}, pick(4, 2)), make_tensor("v", {9}, pick(3, 3))};
        auto saved = save("j", "s", static_cast<int64_t>(i), tensors, 1 + static_cast<int>(pick(3, 4)));
        TEPHRA_ASSERT_OK(saved);
        model[saved->name()] = tensors;
        break;
      }
      case 2: {
        if (chosen == model.end()) break;
        auto parent = store_->get(chosen->first);
        TEPHRA_ASSERT_OK(parent);
        auto tensors = chosen->second;
        tensors[1] = make_tensor("v", {9}, pick(3, 5));
        auto saved = save("fork", "s", static_cast<int64_t>(i), {tensors[1]}, 1, &*parent);
        TEPHRA_ASSERT_OK(saved);
        model[saved->name()] = tensors;
        break;
      }
      case 3:
        if (chosen == model.end()) break;
        TEPHRA_ASSERT_OK(store_->remove(chosen->first));
        model.erase(chosen);
        break;
      case 4: (void)collected(); break;
      case 5: open(); break;
    }
    auto infos = store_->list();
    TEPHRA_ASSERT_OK(infos);
    ASSERT_EQ(infos->size(), model.size());
    for (const auto& [name, tensors] : model) expect_holds(name, tensors);
    if (HasFailure()) FAIL() << "at operation " << i;
  }
}

}  // namespace
}  // namespace tephra::storage
