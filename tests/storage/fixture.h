// What the storage tests share: tensors of known bytes, several "ranks" writing them, and a store in a temporary
// folder.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "base/faulty_env.h"
#include "base/random.h"
#include "storage/index/store.h"
#include "tests/base/temp_dir.h"

#define TEPHRA_ASSERT_OK(expr)                                                              \
  do {                                                                                      \
    auto&& tephra_test_status = (expr);                                                     \
    ASSERT_TRUE(tephra_test_status.ok()) << ::tephra::storage::text_of(tephra_test_status); \
  } while (0)

namespace tephra::storage {

inline std::string text_of(const Status& status) { return status.to_string(); }
template <typename T>
std::string text_of(const Result<T>& result) {
  return result.status().to_string();
}

// A whole logical tensor in memory.
struct TestTensor {
  std::string name;
  StateKind kind = StateKind::kParameter;
  DType dtype = DType::kFloat32;
  Shape shape;
  std::vector<std::byte> bytes;
  bool frozen = false;
};

inline TestTensor make_tensor(const std::string& name, Shape shape, uint64_t seed, DType dtype = DType::kFloat32,
                              StateKind kind = StateKind::kParameter) {
  TestTensor tensor{name, kind, dtype, shape, {}};
  std::vector<float> values(static_cast<size_t>(numel(shape)));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(random_unit({seed, key_of(name), static_cast<uint64_t>(kind), i}) - 0.5);
  tensor.bytes.resize(values.size() * static_cast<size_t>(size_bytes(dtype)));
  EXPECT_TRUE(
      convert_from_float32(values.data(), static_cast<int64_t>(values.size()), dtype, tensor.bytes.data()).ok());
  return tensor;
}

// Rank `rank` of `world` writes its even share of every tensor (the last rank takes the rest).
inline Result<ShardSummary> write_shard(Env& env, const std::string& packs_dir, const std::string& pack,
                                        const std::vector<TestTensor>& tensors, int rank, int world) {
  TEPHRA_ASSIGN_OR_RETURN(auto writer, TensorWriter::create(env, packs_dir, pack));
  for (const TestTensor& t : tensors) {
    int64_t n = numel(t.shape), begin = n * rank / world, end = n * (rank + 1) / world;
    TEPHRA_RETURN_IF_ERROR(writer->add(t.name, t.kind, t.dtype, t.shape, begin, end - begin,
                                       t.bytes.data() + begin * size_bytes(t.dtype)));
  }
  return writer->finish();
}

// A model in memory as a TensorSource; fails at tensor `fail_at` when set.
class MemorySource : public TensorSource {
 public:
  explicit MemorySource(std::vector<TestTensor> tensors) {
    for (TestTensor& t : tensors) by_name_.emplace(t.name, std::move(t));
    for (const auto& [name, t] : by_name_) infos_.push_back({name, t.dtype, t.shape});
  }
  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  Status read_float32(const std::string&, int64_t, int64_t, float*) const override {
    return {Code::kUnsupported, "not here"};
  }
  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    if (name == fail_at) return {Code::kCorruption, "source: " + name + " is damaged"};
    const TestTensor& t = by_name_.at(name);
    ++reads;
    largest_read = std::max(largest_read, count * size_bytes(t.dtype));
    std::memcpy(out, t.bytes.data() + begin * size_bytes(t.dtype), static_cast<size_t>(count * size_bytes(t.dtype)));
    return ok_status();
  }
  std::string fail_at;
  mutable int64_t reads = 0;
  mutable int64_t largest_read = 0;

 private:
  std::map<std::string, TestTensor> by_name_;
  std::vector<TensorInfo> infos_;
};

class StoreFixture : public ::testing::Test {
 protected:
  void SetUp() override { open(); }

  void open(OpenMode mode = OpenMode::kReadWrite) {
    store_.reset();
    auto opened = Store::open(env_, dir_ / "store", mode);
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    store_ = std::move(*opened);
  }

  // Writes with `world` ranks and commits. `frozen`: references of the parent to keep.
  Result<Manifest> save(const std::string& job, const std::string& stage, int64_t step,
                        const std::vector<TestTensor>& tensors, int world = 1, const Manifest* parent = nullptr,
                        int64_t attempt = 0, const std::vector<Put>& extra = {}) {
    std::vector<ShardSummary> shards;
    std::vector<PackSummary> packs;
    for (int rank = 0; rank < world; ++rank) {
      TEPHRA_ASSIGN_OR_RETURN(
          auto shard,
          write_shard(env_, store_->packs_dir(), pack_name(job, attempt, stage, step, rank), tensors, rank, world));
      packs.push_back(shard.pack);
      shards.push_back(std::move(shard));
    }
    Manifest manifest;
    manifest.job = job;
    manifest.stage = stage;
    manifest.step = step;
    manifest.attempt = attempt;
    TEPHRA_ASSIGN_OR_RETURN(manifest.tensors, merge(shards));
    if (parent) {
      manifest.parent = parent->name();
      for (const ManifestTensor& t : parent->tensors) {
        if (manifest.find(t.name, t.kind)) continue;
        ManifestTensor frozen = t;
        frozen.frozen = true;
        auto at = std::lower_bound(
            manifest.tensors.begin(), manifest.tensors.end(), frozen,
            [](const auto& a, const auto& b) { return std::tie(a.name, a.kind) < std::tie(b.name, b.kind); });
        manifest.tensors.insert(at, frozen);
      }
    }
    return store_->commit(manifest, packs, extra);
  }

  // Every byte of `tensors` is what the checkpoint `name` gives back.
  void expect_holds(const std::string& name, const std::vector<TestTensor>& tensors) {
    auto reader = store_->reader(name);
    ASSERT_TRUE(reader.ok()) << reader.status().to_string();
    for (const TestTensor& t : tensors) {
      std::vector<std::byte> bytes(t.bytes.size());
      TEPHRA_ASSERT_OK((*reader)->read_state_bytes(t.name, t.kind, 0, numel(t.shape), bytes.data()));
      EXPECT_TRUE(bytes == t.bytes) << t.name;
    }
  }

  // Every checkpoint that is listed verifies.
  void expect_all_whole() {
    const auto infos = store_->list();
    TEPHRA_ASSERT_OK(infos);
    for (const CheckpointInfo& info : *infos) {
      const auto report = store_->verify(info.name);
      TEPHRA_ASSERT_OK(report);
      EXPECT_TRUE(report->ok()) << info.name << ": " << report->problems[0].message;
    }
  }

  std::vector<std::string> pack_files() {
    auto files = Env::posix().list(dir_ / "store/packs");
    return files.ok() ? *files : std::vector<std::string>{};
  }

  TempDir dir_;
  FaultyEnv env_{Env::posix()};
  std::unique_ptr<Store> store_;
};

inline std::vector<TestTensor> small_model(uint64_t seed) {
  return {make_tensor("a.weight", {33, 17}, seed),
          make_tensor("b.bias", {7}, seed),
          make_tensor("c.empty", {0, 4}, seed),
          make_tensor("d.scalar", {}, seed),
          make_tensor("e.half", {129}, seed, DType::kBFloat16),
          make_tensor("a.weight", {33, 17}, seed, DType::kFloat32, StateKind::kFirstMoment),
          make_tensor("a.weight", {33, 17}, seed, DType::kFloat32, StateKind::kSecondMoment)};
}

}  // namespace tephra::storage
