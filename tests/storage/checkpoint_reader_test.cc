// What the reader asks of the files, and in which order. That it gives back what was written is in store_test.cc.
#include "storage/checkpoint_reader.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

struct Call {
  bool hint;  // else a read
  uint64_t begin, end;
};

// Notes what is done to each file that is opened.
class NotingEnv : public FaultyEnv {
 public:
  explicit NotingEnv(std::vector<Call>* calls) : FaultyEnv(Env::posix()), calls_(*calls) {}
  Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
    TEPHRA_ASSIGN_OR_RETURN(auto target, FaultyEnv::open(path));
    return std::unique_ptr<ReadableFile>(new File(std::move(target), calls_));
  }

 private:
  class File : public ReadableFile {
   public:
    File(std::unique_ptr<ReadableFile> target, std::vector<Call>& calls) : target_(std::move(target)), calls_(calls) {}
    uint64_t size_bytes() const override { return target_->size_bytes(); }
    Status read_at(uint64_t offset, std::span<std::byte> out) const override {
      calls_.push_back({false, offset, offset + out.size()});
      return target_->read_at(offset, out);
    }
    void will_read(uint64_t offset, uint64_t bytes) const override { calls_.push_back({true, offset, offset + bytes}); }

   private:
    std::unique_ptr<ReadableFile> target_;
    std::vector<Call>& calls_;
  };
  std::vector<Call>& calls_;
};

class CheckpointReaderTest : public StoreFixture {};

TEST_F(CheckpointReaderTest, TellsTheDiskWhatALongRangeWillReadAndNoMore) {
  const TestTensor tensor = make_tensor("long", {6 << 20}, 1);  // 24 MiB: six chunks
  TEPHRA_ASSERT_OK(save("j", "s", 1, {tensor}));
  std::vector<Call> calls;
  NotingEnv env(&calls);
  const CheckpointReader reader(env, store_->packs_dir(), *store_->locate(*store_->get("j/s@1")));
  const int64_t begin = 1000, count = (5 << 20) + 77777;
  std::vector<std::byte> bytes(static_cast<size_t>(count) * 4);
  TEPHRA_ASSERT_OK(reader.read_state_bytes("long", StateKind::kParameter, begin, count, bytes.data()));
  EXPECT_EQ(std::memcmp(bytes.data(), tensor.bytes.data() + begin * 4, bytes.size()), 0);

  uint64_t told = 0, first = UINT64_MAX, hints = 0;  // up to where; from where on
  for (const Call& call : calls) {
    if (call.hint) {
      ++hints;
      first = std::min(first, call.begin);
      told = std::max(told, call.end);
    } else if (hints > 0) {  // the reads before are the footer's
      EXPECT_LT(call.end, told + kBlockBytes) << "read before it was told";
      EXPECT_LE(told, call.begin + CheckpointReader::kReadAheadBytes + kChunkBytesMax) << "told too early";
    }
  }
  EXPECT_EQ(hints, 6u);
  EXPECT_EQ(told - first, bytes.size());
}

TEST_F(CheckpointReaderTest, SaysNothingOfRangesOfABlock) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, small_model(1)));
  std::vector<Call> calls;
  NotingEnv env(&calls);
  const CheckpointReader reader(env, store_->packs_dir(), *store_->locate(*store_->get("j/s@1")));
  std::vector<float> values(33 * 17);
  TEPHRA_ASSERT_OK(reader.read_float32("a.weight", 0, 33 * 17, values.data()));
  EXPECT_FALSE(calls.empty());
  for (const Call& call : calls) EXPECT_FALSE(call.hint);
}

}  // namespace
}  // namespace tephra::storage
