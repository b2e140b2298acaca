// What --gpus takes and how it says what is wrong: with the column, the nearest name and the remedy.
#include "sharding/plan/device.h"

#include <gtest/gtest.h>

namespace tephra::sharding {
namespace {

Cluster must(const std::string& gpus, int64_t nodes = 1) {
  auto cluster = parse_cluster(gpus, nodes);
  EXPECT_TRUE(cluster.ok()) << cluster.status().message();
  return cluster.ok() ? *cluster : Cluster{};
}

std::string error(const std::string& gpus, int64_t nodes = 1) {
  const auto cluster = parse_cluster(gpus, nodes);
  EXPECT_EQ(cluster.status().code(), Code::kInvalidArgument) << gpus;
  return cluster.status().message();
}

TEST(Devices, EveryKnownOneIsCompleteAndCanBeNamed) {
  for (const Device& device : known_devices()) {
    SCOPED_TRACE(device.name);
    const Cluster cluster = must("8x" + device.name, 2);
    EXPECT_EQ(cluster.world_size(), 16);
    EXPECT_EQ(cluster.device.memory_bytes, device.memory_bytes);
    EXPECT_GE(device.memory_bytes, 16'000'000'000);
    EXPECT_GT(device.flops[static_cast<int>(Numbers::kFloat32)], 1e13);
    EXPECT_GT(device.memory_bandwidth, device.link_bandwidth);
    EXPECT_GT(device.link_bandwidth, device.network_bandwidth);
    EXPECT_GT(device.network_bandwidth, 1e9);
    EXPECT_GE(device.host_bandwidth, 16e9);
    EXPECT_FALSE(device.source.empty());
  }
}

TEST(Devices, A100IsWhatItsDataSheetSays) {
  const Device device = must("A100-80G").device;
  EXPECT_EQ(device.memory_bytes, 80'000'000'000);
  EXPECT_DOUBLE_EQ(device.flops[static_cast<int>(Numbers::kBFloat16)], 312e12);
  EXPECT_DOUBLE_EQ(device.flops[static_cast<int>(Numbers::kFloat32)], 19.5e12);
  EXPECT_DOUBLE_EQ(device.rate(Numbers::kTf32), 156e12 * 0.6);
}

TEST(ParseCluster, TakesCustomDevicesAndValuesInPlaceOfTheTables) {
  const Cluster custom = must("4xcustom:memory=24G,flops=100TFLOP/s,bandwidth=1TB/s,link=32GB,flops_share=0.5");
  EXPECT_EQ(custom.devices_per_node, 4);
  EXPECT_EQ(custom.device.memory_bytes, 24'000'000'000);
  EXPECT_DOUBLE_EQ(custom.device.rate(Numbers::kFloat16), 50e12);
  EXPECT_DOUBLE_EQ(custom.device.memory_bandwidth, 1e12);
  EXPECT_DOUBLE_EQ(custom.device.link_bandwidth, 32e9);
  // Never at the memory's own rate: a device with a memory of its own has a bus to the host.
  EXPECT_DOUBLE_EQ(custom.device.host_bandwidth, 32e9);
  EXPECT_TRUE(custom.device.host_assumed);
  const Cluster given = must("custom:memory=24G,flops=100T,bandwidth=1T,host=64G");
  EXPECT_DOUBLE_EQ(given.device.host_rate(), 0.7 * 64e9);
  EXPECT_FALSE(given.device.host_assumed);
  const Cluster slow = must("8xA100-80G:network=1.25e9", 2);
  EXPECT_DOUBLE_EQ(slow.device.network_bandwidth, 1.25e9);
  EXPECT_DOUBLE_EQ(slow.device.link_bandwidth, 300e9);
  EXPECT_EQ(to_string(slow), "2 nodes x 8 A100-80G");
  EXPECT_EQ(to_string(must("A100-80G")), "1 A100-80G");
}

TEST(ParseCluster, SaysColumnNearestNameAndRemedy) {
  EXPECT_EQ(error("8xA100-80"),
            "--gpus 8xA100-80: column 3: there is no device 'A100-80'; did you mean A100-80G? Known: V100-16G, "
            "V100-32G, A100-40G, A100-80G, H100-80G, H200, L40S, RTX4090, custom");
  EXPECT_EQ(error("6xA100-80G"),
            "--gpus 6xA100-80G: column 1: 6 devices x 1 nodes are 6 ranks, not a power of two; plan for 4 or 8");
  EXPECT_EQ(error("8xcustom:memory=80X"),
            "--gpus 8xcustom:memory=80X: column 17: memory is '80X', not a number above 0; write it as 80G, 312T or "
            "2.5e9");
  EXPECT_EQ(error("8xcustom:memory=80G,flops=312T"),
            "--gpus 8xcustom:memory=80G,flops=312T: column 31: a custom device also needs bandwidth=, link=; for "
            "example 8xcustom:memory=80G,flops=312T,bandwidth=2T,link=300G,network=25G");
  EXPECT_NE(error("8xH200:memry=1G").find("column 8: there is no value 'memry'; did you mean memory?"),
            std::string::npos);
  EXPECT_NE(error("8xH200:flops_share=2").find("more than 1"), std::string::npos);
}

TEST(ParseCluster, RefusesWhatNoClusterIs) {
  for (const char* text :
       {"", "8x", "0xA100-80G", "-8xA100-80G", "8xA100-80G:", "8xA100-80G:memory",
        "8xA100-80G:memory=", "8xA100-80G:memory=nan", "8xA100-80G:memory=-1G", "8xA100-80G:memory=0",
        "8xA100-80G:memory=1e400", "99999999999xA100-80G", "8xA100-80G,link=1G"})
    EXPECT_FALSE(error(text).empty()) << text;
  EXPECT_NE(error("8xA100-80G", 0).find("--nodes 0"), std::string::npos);
  EXPECT_NE(error("8xA100-80G", 3).find("plan for 16 or 32"), std::string::npos);
}

TEST(Numbers, OnesThatADeviceLacksAreRefusedWithThoseItHas) {
  const Device v100 = must("V100-32G").device;
  EXPECT_TRUE(check_numbers(v100, Numbers::kFloat16).ok());
  const Status status = check_numbers(v100, Numbers::kBFloat16);
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_EQ(status.message(),
            "V100-32G does not compute in bfloat16; it has float32 (16 TFLOP/s), float16 (125 TFLOP/s)");
}

TEST(Numbers, AreCalledByTheirNames) {
  for (const Numbers numbers : {Numbers::kFloat32, Numbers::kTf32, Numbers::kBFloat16, Numbers::kFloat16}) {
    const auto parsed = parse_numbers(name_of(numbers));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, numbers);
  }
  EXPECT_EQ(parse_numbers("bfloat").status().message(),
            "--dtype bfloat: did you mean bfloat16? Known: float32, tf32, bfloat16, float16");
}

}  // namespace
}  // namespace tephra::sharding
