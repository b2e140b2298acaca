// What a rank holds while it loads a model: its own shards, and at no moment more than one tensor beside them. And that
// an export and a comparison of checkpoints hold a few blocks, whatever the model's size.
#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <new>
#include <string>
#include <system_error>

#include "model/spec/model_folder.h"
#include "model/spec/safetensors.h"
#include "model/spec/units.h"
#include "sharding/exec/shard_store.h"
#include "storage/checkpoint_diff.h"
#include "storage/index/store.h"
#include "tests/base/temp_dir.h"

namespace tephra::worker {
namespace {

constexpr int64_t kMegabyte = int64_t{1} << 20;

// Bytes of private writable memory of this process: heap, stacks, anonymous maps; files that are mapped to be read are not
// among them.
int64_t data_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "VmData:") {
      int64_t kilobytes = 0;
      status >> kilobytes;
      return kilobytes * 1024;
    }
  return 0;
}

enum class Outcome { kLoaded, kNoMemory, kFailed, kNoLimitHere };

// Runs `load` in a child process that the kernel lets take `bytes` of private memory beside what it has now. The limit holds
// at every moment, so nothing has to be sampled.
Outcome load_within(int64_t bytes, const std::function<Status()>& load) {
  const pid_t child = fork();
  if (child == 0) {
    Outcome outcome = Outcome::kFailed;
    // What the parent freed and its heap kept, and how large stacks are on this machine, are no part of what is measured: every
    // large block is a map of its own, and stacks are small.
    malloc_trim(0);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    pthread_attr_t small_stacks;
    pthread_attr_init(&small_stacks);
    pthread_attr_setstacksize(&small_stacks, 512 * 1024);
    pthread_setattr_default_np(&small_stacks);
    const auto limit = static_cast<rlim_t>(data_bytes() + bytes);
    const rlimit both{limit, limit};
    if (setrlimit(RLIMIT_DATA, &both) != 0 ||
        mmap(nullptr, static_cast<size_t>(bytes + kMegabyte), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
             0) != MAP_FAILED) {
      outcome = Outcome::kNoLimitHere;
    } else {
      try {
        const Status status = load();
        if (!status.ok()) (void)!write(STDERR_FILENO, status.message().data(), status.message().size());
        outcome = status.ok() ? Outcome::kLoaded : Outcome::kFailed;
      } catch (const std::bad_alloc&) {
        outcome = Outcome::kNoMemory;
      } catch (const std::system_error& no_thread) {  // a thread that got no stack
        outcome = no_thread.code() == std::errc::resource_unavailable_try_again ? Outcome::kNoMemory : Outcome::kFailed;
      } catch (...) {  // never back into the test runner, which would go on in the child
        outcome = Outcome::kFailed;
      }
    }
    _exit(static_cast<int>(outcome));
  }
  int ended = 0;
  waitpid(child, &ended, 0);
  return WIFEXITED(ended) ? static_cast<Outcome>(WEXITSTATUS(ended)) : Outcome::kFailed;
}

class LoadingMemory : public ::testing::Test {
 protected:
  LoadingMemory() {
    config_.hidden_size = 1024, config_.intermediate_size = 2816, config_.num_layers = 4, config_.num_heads = 16;
    config_.num_kv_heads = 16, config_.head_dim = 64, config_.vocab_size = 4096;
  }

  // About 120 MB of bfloat16, no two stretches of it alike.
  void write_folder(const std::string& folder) const {
    std::vector<TensorInfo> tensors;
    for (const sharding::UnitSpec& unit : units(false))
      for (const sharding::TensorSpec& tensor : unit.tensors)
        tensors.push_back({tensor.name, DType::kBFloat16, tensor.shape});
    const auto number = [](const TensorInfo& info, int64_t begin, int64_t count, std::byte* out) {
      for (int64_t i = 0; i < count; ++i) {
        // Never an exponent of all ones.
        const auto bits =
            static_cast<uint16_t>(((info.name.size() * 131 + begin + i) * 0x9E3779B97F4A7C15u >> 40) & 0xBFFF);
        std::memcpy(out + 2 * i, &bits, 2);
      }
      return ok_status();
    };
    ASSERT_TRUE(Env::posix().make_directories(folder).ok());
    const auto written = model::write_sharded_safetensors(Env::posix(), folder, tensors, 40 * kMegabyte, {}, number);
    ASSERT_TRUE(written.ok()) << written.status().to_string();
  }

  std::vector<sharding::UnitSpec> units(bool trained) const {
    return model::make_lm_units(config_, trained ? std::set<std::string>{"llm"} : std::set<std::string>{});
  }

  // What the loading of rank 1 may take, by the sizes alone.
  int64_t shard_bytes(bool trained, int world_size) const {
    int64_t bytes = 0;
    for (const sharding::UnitSpec& unit : units(trained))
      bytes += sharding::shard_numel(unit, world_size) * 4 * (trained ? 3 : 1);
    return bytes;
  }
  int64_t largest_tensor_bytes() const {
    int64_t bytes = 0;
    for (const sharding::UnitSpec& unit : units(false))
      for (const sharding::TensorSpec& tensor : unit.tensors) bytes = std::max(bytes, numel(tensor.shape) * 4);
    return bytes;
  }

  // As a rank does it, from whatever holds the tensors.
  Status load(const TensorSource& source, bool trained, int rank, int world_size) const {
    const auto all = units(trained);
    sharding::BlockPool pool;
    sharding::ShardStore shards(&all, sharding::holding({.world_size = world_size}, rank), 2, sharding::Offload::kNone,
                                &pool);
    return shards.load([&](const std::string& tensor, sharding::StateKind, int64_t begin, int64_t count,
                           float* out) { return source.read_float32(tensor, begin, count, out); },
                       false);
  }

  void expect_bounded(const TensorSource& source) const {
    for (const bool trained : {false, true}) {
      const int64_t allowed = shard_bytes(trained, 4) + largest_tensor_bytes() + 8 * kMegabyte;
      const auto rank = [&](int world_size) {
        return [&, world_size] { return load(source, trained, world_size > 1, world_size); };
      };
      const Outcome outcome = load_within(allowed, rank(4));
      if (outcome == Outcome::kNoLimitHere) GTEST_SKIP() << "NOT RUN: this kernel does not hold RLIMIT_DATA";
      EXPECT_EQ(outcome, Outcome::kLoaded) << trained << " within " << allowed;
      // The limit is one: what is half as large does not do, nor does it for a rank that has everything.
      EXPECT_EQ(load_within(shard_bytes(trained, 4) / 2, rank(4)), Outcome::kNoMemory);
      EXPECT_EQ(load_within(allowed, rank(1)), Outcome::kNoMemory);
    }
  }

  model::LlamaConfig config_;
  TempDir dir_;
};

TEST_F(LoadingMemory, IsOneShardAndOneTensor) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "NOT RUN: a sanitizer takes memory of its own";
#endif
  write_folder(dir_.path() + "/model");
  auto folder = model::open_model({.llm = dir_.path() + "/model"});
  ASSERT_TRUE(folder.ok()) << folder.status().to_string();
  expect_bounded(**folder);
  // The way of a job: the coordinator imports the folder, and the ranks read packs.
  auto store = storage::Store::open(Env::posix(), dir_.path() + "/store", storage::OpenMode::kReadWrite);
  ASSERT_TRUE(store.ok()) << store.status().to_string();
  const auto manifest = (*store)->import_tensors(**folder, {});
  ASSERT_TRUE(manifest.ok()) << manifest.status().to_string();
  std::filesystem::remove_all(dir_.path() + "/model");
  auto reader = (*store)->reader(manifest->name());
  ASSERT_TRUE(reader.ok()) << reader.status().to_string();
  expect_bounded(**reader);
}

TEST_F(LoadingMemory, AnExportAndADifferenceAreStreams) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "NOT RUN: a sanitizer takes memory of its own";
#endif
  write_folder(dir_.path() + "/model");
  auto folder = model::open_model({.llm = dir_.path() + "/model"});
  ASSERT_TRUE(folder.ok()) << folder.status().to_string();
  auto store = storage::Store::open(Env::posix(), dir_.path() + "/store", storage::OpenMode::kReadWrite);
  ASSERT_TRUE(store.ok()) << store.status().to_string();
  const auto manifest = (*store)->import_tensors(**folder, {});
  ASSERT_TRUE(manifest.ok()) << manifest.status().to_string();
  ASSERT_GT(manifest->logical_bytes, static_cast<uint64_t>(100 * kMegabyte));
  // 16 MB of verified chunks, a block of 8 MB in two dtypes, the file's buffer.
  const int64_t allowed = 64 * kMegabyte;
  const auto exported = [&](int64_t bytes) {
    return load_within(bytes, [&]() -> Status {
      TEPHRA_ASSIGN_OR_RETURN(const auto reader, (*store)->reader(manifest->name()));
      return model::export_llama(Env::posix(), dir_.path() + "/exported", config_, *reader, {});
    });
  };
  const Outcome outcome = exported(allowed);
  if (outcome == Outcome::kNoLimitHere) GTEST_SKIP() << "NOT RUN: this kernel does not hold RLIMIT_DATA";
  EXPECT_EQ(outcome, Outcome::kLoaded);
  EXPECT_EQ(exported(4 * kMegabyte), Outcome::kNoMemory) << "the limit is one";
  // Another model, each value of which has another last bit.
  const auto flipped = [&](const TensorInfo& info, int64_t begin, int64_t count, std::byte* out) -> Status {
    TEPHRA_RETURN_IF_ERROR((*folder)->read_bytes(info.name, begin, count, out));
    for (int64_t i = 0; i < count; ++i) out[2 * i] ^= std::byte{1};
    return ok_status();
  };
  ASSERT_TRUE(Env::posix().make_directories(dir_.path() + "/model2").ok());
  const auto written = model::write_sharded_safetensors(Env::posix(), dir_.path() + "/model2", (*folder)->tensors(),
                                                        400 * kMegabyte, {}, flipped);
  ASSERT_TRUE(written.ok()) << written.status().to_string();
  auto second = model::open_model({.llm = dir_.path() + "/model2"});
  ASSERT_TRUE(second.ok()) << second.status().to_string();
  const auto other = (*store)->import_tensors(**second, {});
  ASSERT_TRUE(other.ok()) << other.status().to_string();
  EXPECT_EQ(load_within(allowed,
                        [&]() -> Status {
                          TEPHRA_ASSIGN_OR_RETURN(const auto a, (*store)->reader(manifest->name()));
                          TEPHRA_ASSIGN_OR_RETURN(const auto b, (*store)->reader(other->name()));
                          TEPHRA_ASSIGN_OR_RETURN(const auto found, storage::diff(*a, *b));
                          for (const storage::TensorDifference& d : found)
                            if (d.how != storage::TensorDifference::How::kValues) return {Code::kInternal, d.name};
                          return ok_status();
                        }),
            Outcome::kLoaded);
}

}  // namespace
}  // namespace tephra::worker
