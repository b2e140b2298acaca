// An index that was lost, damaged or put back from an old copy is made again, and until then the store does not open.
#include <filesystem>

#include "storage/manifest_file.h"
#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

namespace fs = std::filesystem;

class StoreRebuildTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    first_ = *save("j", "s", 1, one_, 2);
    TEPHRA_ASSERT_OK(save("j", "s", 2, {make_tensor("v", {100}, 2)}, 1, &first_));
  }
  std::string path(const std::string& name) { return dir_ / ("store/" + name); }
  void copy_index(const std::string& from, const std::string& to) {
    fs::remove_all(path(to));
    fs::copy(path(from), path(to), fs::copy_options::recursive);
  }
  // The store opens for nobody, and says what to do.
  void expect_refused() {
    Status status = Store::open(env_, dir_ / "store", OpenMode::kReadWrite).status();
    EXPECT_EQ(status.code(), Code::kCorruption) << status.message();
    EXPECT_NE(status.message().find("tephra store rebuild --store " + (dir_ / "store")), std::string::npos)
        << status.message();
  }
  std::vector<std::string> names() {
    std::vector<std::string> names;
    const auto infos = store_->list();
    for (const CheckpointInfo& info : *infos) names.push_back(info.name);
    return names;
  }

  const std::vector<TestTensor> one_ = small_model(1);
  Manifest first_;
};

TEST_F(StoreRebuildTest, ALostIndex) {
  TEPHRA_ASSERT_OK(store_->tag("gold", "j/s@1"));
  store_.reset();
  fs::remove_all(path("index"));
  expect_refused();
  auto report = Store::rebuild(env_, dir_ / "store");
  TEPHRA_ASSERT_OK(report);
  EXPECT_FALSE(report->index_was_there);
  EXPECT_EQ(report->checkpoints, (std::vector<std::string>{"j/s@1", "j/s@2"}));
  EXPECT_EQ(report->pack_count, 3);
  EXPECT_TRUE(report->left_out.empty());
  open();
  EXPECT_EQ(store_->get("j/s@1")->content_hash, first_.content_hash);
  expect_holds("j/s@1", one_);
  expect_holds("j/s@2", one_);
  for (const std::string& name : names()) EXPECT_TRUE(store_->verify(name)->ok());
  EXPECT_TRUE(store_->tags()->empty()) << "tags are in the index only";
  EXPECT_EQ(store_->get("j/s@2")->commit_sequence, 2u);
  EXPECT_EQ(save("j", "s", 3, {make_tensor("u", {5}, 3)})->commit_sequence, 3u) << "counting goes on";
  EXPECT_TRUE(store_->gc(false)->packs.empty());
}

TEST_F(StoreRebuildTest, AnOlderCopyLearnsWhatItMissed) {
  TEPHRA_ASSERT_OK(store_->tag("gold", "j/s@1"));
  TEPHRA_ASSERT_OK(store_->remove("j/s@2"));
  TEPHRA_ASSERT_OK(save("gone", "s", 1, {make_tensor("z", {50}, 9)}));
  store_.reset();
  copy_index("index", "backup");
  open();
  TEPHRA_ASSERT_OK(save("j", "s", 3, {make_tensor("u", {50}, 3)}, 2));
  TEPHRA_ASSERT_OK(save("j", "s", 4, {make_tensor("u", {50}, 4)}, 2));
  TEPHRA_ASSERT_OK(store_->remove("gone/s@1"));  // after the copy; its bytes go, too
  TEPHRA_ASSERT_OK(store_->gc(false));
  store_.reset();
  copy_index("backup", "index");
  expect_refused();
  auto report = Store::rebuild(env_, dir_ / "store");
  TEPHRA_ASSERT_OK(report);
  EXPECT_TRUE(report->index_was_there);
  EXPECT_EQ(report->checkpoints, (std::vector<std::string>{"j/s@3", "j/s@4"}));
  open();
  EXPECT_EQ(names(), (std::vector<std::string>{"j/s@1", "j/s@3", "j/s@4"})) << "what was removed stays removed";
  EXPECT_EQ(store_->tags()->at("gold"), "j/s@1");
  for (const std::string& name : names()) EXPECT_TRUE(store_->verify(name)->ok());
}

TEST_F(StoreRebuildTest, ADamagedIndexIsPutAside) {
  store_.reset();
  ASSERT_TRUE(write_file_atomic(Env::posix(), path("index/CURRENT"), "MANIFEST-999999\n").ok());
  EXPECT_FALSE(Store::open(env_, dir_ / "store", OpenMode::kReadWrite).ok());
  auto report = Store::rebuild(env_, dir_ / "store");
  TEPHRA_ASSERT_OK(report);
  EXPECT_EQ(report->index_moved_to, path("index.aside-1"));
  EXPECT_TRUE(fs::exists(report->index_moved_to));
  open();
  expect_holds("j/s@2", one_);
}

TEST_F(StoreRebuildTest, ALostPackCostsOnlyTheCheckpointsThatNeedIt) {
  store_.reset();
  fs::remove_all(path("index"));
  fs::remove(path("packs/" + pack_name("j", 0, "s", 2, 0) + ".pack"));
  auto report = Store::rebuild(env_, dir_ / "store");
  TEPHRA_ASSERT_OK(report);
  EXPECT_EQ(report->checkpoints, std::vector<std::string>{"j/s@1"});
  ASSERT_EQ(report->left_out.size(), 1u);
  EXPECT_NE(report->left_out[0].message.find("of j/s@2 is in no pack"), std::string::npos);
  open();
  expect_holds("j/s@1", one_);
}

TEST_F(StoreRebuildTest, ACommitThatDidNotHappenIsNotMadeByOpening) {
  // The file is there, the batch is not: what a crash between the two leaves.
  Manifest next = first_;
  next.step = 9;
  next.commit_sequence = 3;
  TEPHRA_ASSERT_OK(write_manifest_file(env_, path("manifests"), next));
  open();
  EXPECT_EQ(names(), (std::vector<std::string>{"j/s@1", "j/s@2"}));
  EXPECT_EQ(store_->gc(true)->manifests, std::vector<std::string>{"j+s@9+c3.manifest"});
  TEPHRA_ASSERT_OK(store_->gc(false));
  EXPECT_EQ(list_manifest_files(env_, path("manifests"))->size(), 2u);
}

TEST_F(StoreRebuildTest, ACrashAtEveryOperationOfARebuildThenItAgain) {
  store_.reset();
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    SCOPED_TRACE("operation " + std::to_string(n));
    fs::remove_all(path("index"));
    env_.fail_nth(n, {.sticky = true}, true);
    auto report = Store::rebuild(env_, dir_ / "store");
    fired = env_.fired();
    env_.disarm();
    if (report.ok()) {
      EXPECT_EQ(report->checkpoints.size() + report->left_out.size() > 0, true);
      continue;
    }
    expect_refused();
    TEPHRA_ASSERT_OK(Store::rebuild(env_, dir_ / "store"));
    open();
    EXPECT_EQ(names().size(), 2u);
    store_.reset();
    if (HasFailure()) return;
  }
  EXPECT_GT(n, 5);
  open();
  expect_holds("j/s@1", one_);
}

TEST_F(StoreRebuildTest, RefusesAnOpenStoreAndAFolderThatIsNone) {
  EXPECT_EQ(Store::rebuild(env_, dir_ / "store").status().code(), Code::kBusy);
  EXPECT_EQ(Store::rebuild(env_, dir_ / "nowhere").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tephra::storage
