// The plugin as it was built: it loads where there is no GPU and says so; where there are GPUs, the contract suite runs
// with one rank, as a thread, on each. The suite's buffers are host memory, so a communicator between copies them to the
// device and back.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <thread>

#include "cluster/nccl_plugin.h"
#include "tests/cluster/communicator_contract.h"

namespace tephra::cluster {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

// Loaded as the worker would: from its place beside the programs.
Result<NcclPlugin> built_plugin() {
  TEPHRA_ASSIGN_OR_RETURN(const std::string path, nccl_plugin_path());
  return NcclPlugin::load(path);
}

TEST(NcclPluginBuilt, LoadsAndNamesItsNccl) {
  const auto plugin = built_plugin();
  ASSERT_TRUE(plugin.ok()) << plugin.status().to_string();
  EXPECT_THAT(plugin->nccl_version(), StartsWith("2."));
  const NcclDevices devices = plugin->devices();
  EXPECT_EQ(devices.count == 0, !devices.none_because.empty()) << devices.none_because;
  std::printf("NCCL %s, %d devices (%s)\n", plugin->nccl_version().c_str(), devices.count,
              devices.none_because.c_str());
}

TEST(NcclPluginBuilt, RankWithoutADeviceSaysSoAndTellsItsPeers) {
  const auto plugin = built_plugin();
  ASSERT_TRUE(plugin.ok()) << plugin.status().to_string();
  auto control = make_thread_communicators(2);
  const int beyond = plugin->devices().count;  // no machine has this one
  const auto made = plugin->make_communicator(std::move(control[0]), beyond, soon());
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kUnavailable);
  EXPECT_EQ(made.status().retry_class(), RetryClass::kNeedsOperator);
  EXPECT_THAT(made.status().message(), StartsWith("rank 0 has no CUDA device: "));
  EXPECT_THAT(made.status().message(), HasSubstr("run without GPUs"));
  const Status peer = control[1]->barrier(soon());
  EXPECT_EQ(peer.code(), Code::kPeerLost);
  EXPECT_THAT(peer.message(), HasSubstr("no CUDA device"));
}

void must(cudaError_t code) { ASSERT_EQ(code, cudaSuccess) << cudaGetErrorString(code); }

// A copy of a host buffer on the device; at least a byte, since an empty one needs an address too.
class OnDevice {
 public:
  OnDevice(const void* host, int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    must(cudaMalloc(&data_, bytes_ + 1));
    if (bytes_ > 0) must(cudaMemcpy(data_, host, bytes_, cudaMemcpyHostToDevice));
    must(cudaDeviceSynchronize());
  }
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  char* data() const { return static_cast<char*>(data_); }
  void copy_back(void* host) const {
    if (bytes_ > 0) must(cudaMemcpy(host, data_, bytes_, cudaMemcpyDeviceToHost));
  }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

class Staged final : public Communicator {
 public:
  explicit Staged(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) { sync_count(); }
  int rank() const override { return inner_->rank(); }
  int world_size() const override { return inner_->world_size(); }
  Status all_gather(ConstBuffer shard, Buffer full, Deadline deadline) override {
    return staged(full, shard.data, shard.size_bytes(), nullptr, [&](char* device_full, char* device_shard) {
      return inner_->all_gather({device_shard, shard.count, shard.dtype}, {device_full, full.count, full.dtype},
                                deadline);
    });
  }
  Status reduce_scatter_tree(Buffer full, Buffer shard, Deadline deadline) override {
    return staged(full, shard.data, shard.size_bytes(), shard.data, [&](char* device_full, char* device_shard) {
      return inner_->reduce_scatter_tree({device_full, full.count}, {device_shard, shard.count}, deadline);
    });
  }
  Status reduce_scatter_fast(Buffer full, Buffer shard, Deadline deadline) override {
    return staged(full, shard.data, shard.size_bytes(), shard.data, [&](char* device_full, char* device_shard) {
      return inner_->reduce_scatter_fast({device_full, full.count}, {device_shard, shard.count}, deadline);
    });
  }
  Status broadcast(Buffer data, int root, Deadline deadline) override {
    return staged(data, nullptr, 0, nullptr, [&](char* device, char*) {
      return inner_->broadcast({device, data.count, data.dtype}, root, deadline);
    });
  }
  Status barrier(Deadline deadline) override {
    const Status status = inner_->barrier(deadline);
    sync_count();
    return status;
  }
  Result<std::unique_ptr<Communicator>> split(int group, Deadline deadline) override {
    auto part = inner_->split(group, deadline);
    sync_count();
    if (!part.ok()) return part;
    return std::unique_ptr<Communicator>(std::make_unique<Staged>(std::move(*part)));
  }
  Status probe() override { return inner_->probe(); }
  void abort(const Status& reason) override { inner_->abort(reason); }

 private:
  // A shard that lies inside `full` is passed as the same place of its copy, so that calls in place stay so.
  template <typename Call>
  Status staged(Buffer full, const void* shard, int64_t shard_bytes, void* shard_out, Call call) {
    OnDevice device_full(full.data, full.size_bytes());
    OnDevice device_shard(shard, shard_bytes);
    const auto* begin = static_cast<const char*>(full.data);
    const auto* at = static_cast<const char*>(shard);
    const bool inside = full.count > 0 && at >= begin && at + shard_bytes <= begin + full.size_bytes();
    const Status status = call(device_full.data(), inside ? device_full.data() + (at - begin) : device_shard.data());
    sync_count();
    device_full.copy_back(full.data);
    if (shard_out != nullptr && !inside) device_shard.copy_back(shard_out);
    return status;
  }
  void sync_count() { sequence_ = inner_->sequence(); }

  std::unique_ptr<Communicator> inner_;
};

struct Param {
  ContractCase contract;
  int ranks = 1;
};

void PrintTo(const Param& param, std::ostream* out) { *out << param.contract.name << " on " << param.ranks; }

class OverNccl : public ::testing::TestWithParam<Param> {};

TEST_P(OverNccl, Contract) {
  const Param& param = GetParam();
  const auto plugin = built_plugin();
  ASSERT_TRUE(plugin.ok()) << plugin.status().to_string();
  const NcclDevices devices = plugin->devices();
  if (devices.count < param.ranks) {
    GTEST_SKIP() << "NOT RUN: needs " << param.ranks << " GPUs and this machine has " << devices.count << " ("
                 << devices.none_because << ")";
  }
  auto control = make_thread_communicators(param.ranks);
  std::vector<std::thread> threads;
  for (int r = 0; r < param.ranks; ++r) {
    threads.emplace_back([&, r] {
      auto made = plugin->make_communicator(std::move(control[r]), r, soon());
      ASSERT_TRUE(made.ok()) << made.status().to_string();
      param.contract.body(*std::make_unique<Staged>(std::move(made).value()));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

std::vector<Param> params() {
  std::vector<Param> all;
  for (const ContractCase& contract : contract_cases()) {
    for (int ranks : {1, 2, 4}) {
      if (ranks >= contract.ranks_min) all.push_back({contract, ranks});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Communicator, OverNccl, ::testing::ValuesIn(params()), [](const auto& info) {
  return info.param.contract.name + "Gpus" + std::to_string(info.param.ranks);
});

}  // namespace
}  // namespace tephra::cluster
