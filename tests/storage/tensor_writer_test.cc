// Shards: ranks' pieces merge to whole tensors, and disagreements between ranks are named, not merged.
#include "storage/tensor_writer.h"

#include <gtest/gtest.h>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class TensorWriterTest : public ::testing::Test {
 protected:
  ShardSummary shard(const std::vector<TestTensor>& tensors, int rank, int world) {
    auto summary =
        write_shard(env_, dir_.path(), "w" + std::to_string(world) + "r" + std::to_string(rank), tensors, rank, world);
    EXPECT_TRUE(summary.ok()) << summary.status().to_string();
    return *summary;
  }
  TempDir dir_;
  Env& env_ = Env::posix();
};

TEST_F(TensorWriterTest, ShardsOfAnyWorldSizeMergeToWholeTensors) {
  auto model = small_model(1);
  for (int world : {1, 2, 3, 4, 8}) {
    std::vector<ShardSummary> shards;
    for (int rank = 0; rank < world; ++rank) shards.push_back(shard(model, rank, world));
    auto merged = merge(shards);
    ASSERT_TRUE(merged.ok()) << merged.status().to_string();
    ASSERT_EQ(merged->size(), model.size());
    for (size_t i = 1; i < merged->size(); ++i)
      EXPECT_LT(std::tie((*merged)[i - 1].name, (*merged)[i - 1].kind), std::tie((*merged)[i].name, (*merged)[i].kind));
  }
}

TEST_F(TensorWriterTest, CutsAtMultiplesOfTheChunkSizeWhoeverWrites) {
  // 2.5 chunks; the middle chunk is whole in rank 1 of 3's part for neither world size, but equal ranges give equal
  // chunks.
  std::vector<TestTensor> model{make_tensor("big", {(5 << 20) / 2}, 3)};
  auto whole = shard(model, 0, 1);
  ASSERT_EQ(whole.tensors[0].pieces.size(), 3u);
  EXPECT_EQ(whole.tensors[0].pieces[1].begin, 1 << 20);
  auto second_half = shard(model, 1, 2);
  EXPECT_EQ(second_half.tensors[0].pieces.back(), whole.tensors[0].pieces.back());
}

TEST_F(TensorWriterTest, ReplicasAreKeptOnce) {
  auto model = small_model(1);
  ShardSummary a = shard(model, 0, 1), b = a;
  auto merged = merge({a, b});
  ASSERT_TRUE(merged.ok()) << merged.status().to_string();
  EXPECT_EQ((*merged)[0].pieces.size(), 1u);
}

TEST_F(TensorWriterTest, MissingRankAndDisagreementAreNamed) {
  auto model = small_model(1);
  ShardSummary first = shard(model, 0, 2), second = shard(model, 1, 2);
  Status hole = merge({first}).status();
  EXPECT_EQ(hole.code(), Code::kMismatch);
  EXPECT_NE(hole.message().find("a.weight"), std::string::npos) << hole.message();
  ShardSummary reshaped = second;
  reshaped.tensors[0].shape = {17, 33};
  EXPECT_NE(merge({first, reshaped}).status().message().find("[17, 33]"), std::string::npos);
  ShardSummary overlapping = second;
  overlapping.tensors[0].pieces[0].begin -= 1;
  EXPECT_NE(merge({first, overlapping}).status().message().find("in two pieces"), std::string::npos);
}

TEST_F(TensorWriterTest, RefusesRangesOutsideAndChangedShapes) {
  auto writer = TensorWriter::create(env_, dir_.path(), "p");
  ASSERT_TRUE(writer.ok());
  std::vector<std::byte> bytes(64);
  TEPHRA_ASSERT_OK((*writer)->add("w", StateKind::kParameter, DType::kFloat32, {4, 4}, 0, 8, bytes.data()));
  EXPECT_EQ((*writer)->add("w", StateKind::kParameter, DType::kFloat32, {4, 4}, 9, 8, bytes.data()).code(),
            Code::kInvalidArgument);
  EXPECT_EQ((*writer)->add("w", StateKind::kParameter, DType::kFloat32, {4, 4}, -1, 1, bytes.data()).code(),
            Code::kInvalidArgument);
  EXPECT_EQ((*writer)->add("w", StateKind::kParameter, DType::kFloat32, {16}, 8, 8, bytes.data()).code(),
            Code::kInvalidArgument);
  TEPHRA_ASSERT_OK((*writer)->add("w", StateKind::kParameter, DType::kFloat32, {4, 4}, 8, 8, bytes.data()));
  EXPECT_TRUE((*writer)->finish().ok());
}

TEST_F(TensorWriterTest, SummaryRoundTrips) {
  ShardSummary summary = shard(small_model(2), 1, 2);
  auto decoded = decode_shard_summary(encode(summary));
  ASSERT_TRUE(decoded.ok()) << decoded.status().to_string();
  EXPECT_EQ(decoded->pack.chunks, summary.pack.chunks);
  ASSERT_EQ(decoded->tensors.size(), summary.tensors.size());
  for (size_t i = 0; i < summary.tensors.size(); ++i) {
    EXPECT_EQ(decoded->tensors[i].name, summary.tensors[i].name);
    EXPECT_EQ(decoded->tensors[i].kind, summary.tensors[i].kind);
    EXPECT_EQ(decoded->tensors[i].shape, summary.tensors[i].shape);
    EXPECT_EQ(decoded->tensors[i].pieces, summary.tensors[i].pieces);
  }
}

}  // namespace
}  // namespace tephra::storage
