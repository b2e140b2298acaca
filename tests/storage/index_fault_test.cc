// Faults of the index's own files, beneath RocksDB. Invariants after each, once the store is opened again:
//  - what was committed before, or reported as committed, is there and holds its bytes;
//  - what is listed verifies: nothing is half there;
//  - a save that failed can be made again.
#include <filesystem>
#include <fstream>

#include "storage/index/database.h"
#include "tests/storage/faulty_file_system.h"
#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class IndexFaultTest : public StoreFixture {
 protected:
  void SetUp() override {
    set_index_file_system_for_tests(files_);
    StoreFixture::SetUp();
    TEPHRA_ASSERT_OK(save("j", "s", 1, before_, 2));
  }
  void TearDown() override {
    store_.reset();
    set_index_file_system_for_tests(nullptr);
  }
  // Save, tag, remove, collect: everything that writes to the index.
  Status work(int64_t round, bool* committed) {
    const std::string job = "k" + std::to_string(round);
    auto saved = save(job, "s", 1, {make_tensor("w", {50}, static_cast<uint64_t>(round))}, 1, nullptr, round);
    *committed = saved.ok();
    TEPHRA_RETURN_IF_ERROR(saved.status());
    TEPHRA_RETURN_IF_ERROR(store_->tag("t" + std::to_string(round), saved->name()));
    TEPHRA_RETURN_IF_ERROR(store_->untag("t" + std::to_string(round)));
    TEPHRA_RETURN_IF_ERROR(store_->write({{ColumnFamily::kJobs, job, "state"}}));
    auto extra = save(job, "extra", 1, {make_tensor("w", {60}, static_cast<uint64_t>(round))}, 1, nullptr, round);
    TEPHRA_RETURN_IF_ERROR(extra.status());
    TEPHRA_RETURN_IF_ERROR(store_->remove(extra->name()));
    return store_->gc(false).status();
  }
  void expect_invariants(int64_t round, bool committed) {
    open();
    expect_holds("j/s@1", before_);
    expect_all_whole();
    const std::string name = "k" + std::to_string(round) + "/s@1";
    if (committed) expect_holds(name, {make_tensor("w", {50}, static_cast<uint64_t>(round))});
    if (!store_->get(name).ok())
      TEPHRA_ASSERT_OK(save("k" + std::to_string(round), "s", 1, {make_tensor("w", {50}, static_cast<uint64_t>(round))},
                            1, nullptr, round + 1000));
  }
  void every_change_fails(const rocksdb::IOStatus& status, bool sticky, bool tear, bool power_loss) {
    int64_t n = 0;
    for (bool fired = true; fired; ++n) {
      SCOPED_TRACE("change " + std::to_string(n));
      files_->fail_nth(n, status, sticky, tear);
      bool committed = false;
      const Status done = work(n, &committed);
      fired = files_->fired();
      if (!fired) TEPHRA_ASSERT_OK(done);
      store_.reset();
      files_->disarm();
      if (power_loss) {
        ASSERT_TRUE(env_.crash(n % 2 == 0).ok());
        files_->drop_unsynced();
      }
      expect_invariants(n, committed);
      if (HasFailure()) return;
    }
    EXPECT_GT(n, 6);
  }

  std::shared_ptr<FaultyFileSystem> files_ = std::make_shared<FaultyFileSystem>();
  const std::vector<TestTensor> before_ = small_model(1);
};

TEST_F(IndexFaultTest, OneErrorAtEveryChange) {
  every_change_fails(rocksdb::IOStatus::IOError("zap"), false, false, false);
}

TEST_F(IndexFaultTest, ADiskThatIsFullFromAnyChangeOn) {
  every_change_fails(rocksdb::IOStatus::NoSpace("full"), true, true, false);
}

TEST_F(IndexFaultTest, PowerLossAtEveryChangeWithTornWrites) {
  every_change_fails(rocksdb::IOStatus::IOError("off"), true, true, true);
}

TEST_F(IndexFaultTest, AFullDiskIsSaid) {
  files_->fail_nth(0, rocksdb::IOStatus::NoSpace("full"), true, false);
  const Status status = save("k", "s", 1, {make_tensor("w", {50}, 1)}).status();
  EXPECT_EQ(status.code(), Code::kNoSpace) << status.to_string();
  EXPECT_EQ(status.retry_class(), RetryClass::kNeedsOperator);
  files_->disarm();
}

// Whatever byte of the index is changed: an error, or the right answer. Never another.
TEST_F(IndexFaultTest, AFlippedByteInAnyIndexFileIsNoticedOrHarmless) {
  store_.reset();
  open();  // what the log held is in tables now
  store_.reset();
  const std::string index = dir_ / "store/index", copy = dir_ / "copy";
  std::filesystem::copy(index, copy, std::filesystem::copy_options::recursive);
  const Manifest expected = [&] {
    open();
    Manifest manifest = *store_->get("j/s@1");
    store_.reset();
    return manifest;
  }();
  int64_t noticed = 0, harmless = 0;
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    const uint64_t size = entry.file_size();
    const uint64_t stride = std::max<uint64_t>(1, size / 12);
    for (uint64_t at = 0; at < size; at += stride) {
      SCOPED_TRACE(entry.path().filename().string() + " byte " + std::to_string(at));
      std::filesystem::remove_all(index);
      std::filesystem::copy(copy, index, std::filesystem::copy_options::recursive);
      {
        std::fstream file(index + "/" + entry.path().filename().string(),
                          std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(static_cast<std::streamoff>(at));
        const char byte = static_cast<char>(file.get() ^ (1 << (at % 8)));
        file.seekp(static_cast<std::streamoff>(at));
        file.put(byte);
      }
      auto opened = Store::open(env_, dir_ / "store", OpenMode::kReadOnly);
      auto manifest = opened.ok() ? (*opened)->get("j/s@1") : Result<Manifest>(opened.status());
      if (!manifest.ok()) {
        ++noticed;
        continue;
      }
      ++harmless;
      EXPECT_EQ(encode_manifest_header(*manifest), encode_manifest_header(expected));
      EXPECT_EQ(encode_manifest_tensors(manifest->tensors), encode_manifest_tensors(expected.tensors));
      const auto report = (*opened)->verify("j/s@1");
      if (report.ok() && report->ok()) continue;
      ++noticed;
    }
  }
  EXPECT_GT(noticed, 5);
  EXPECT_GT(noticed + harmless, 30);
  RecordProperty("noticed", static_cast<int>(noticed));
}

}  // namespace
}  // namespace tephra::storage
