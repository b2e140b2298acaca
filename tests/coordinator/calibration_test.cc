// A calibration's file becomes a device; one that was written for other ranks, or by hand, is refused with file and field.
#include "coordinator/calibration.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/base/temp_dir.h"

namespace tephra::coordinator {
namespace {

std::string written(const TempDir& dir, const std::string& text) {
  std::ofstream(dir / "speed.json") << text;
  return dir / "speed.json";
}

constexpr const char* kTwoRanks =
    R"({"ranks": 2, "flops": 5e10, "memory_bandwidth": 1e10, "link_bandwidth": 4e9, "message_seconds": 2e-6,
        "process_bytes": 130000000})";

TEST(Calibration, IsADeviceOfTheMachinesMemory) {
  const TempDir dir;
  const auto cluster = read_calibration(written(dir, kTwoRanks), 2, 16'000'000'000);
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  EXPECT_EQ(cluster->world_size(), 2);
  EXPECT_EQ(cluster->device.memory_bytes, 8'000'000'000);
  EXPECT_DOUBLE_EQ(cluster->device.rate(sharding::Numbers::kFloat32), 5e10);
  EXPECT_DOUBLE_EQ(cluster->device.link_bandwidth, 4e9);
  EXPECT_EQ(cluster->device.runtime_bytes, 130'000'000);
  EXPECT_FALSE(check_numbers(cluster->device, sharding::Numbers::kBFloat16).ok()) << "measured in float32 only";
}

TEST(Calibration, OfOtherRanksOrByHandIsRefused) {
  const TempDir dir;
  const auto message = [&](const std::string& text, int64_t ranks) {
    return read_calibration(written(dir, text), ranks, 1'000'000'000).status().message();
  };
  EXPECT_NE(message(kTwoRanks, 4).find("was measured with 2 ranks and the recipe has 4; calibrate again: mpirun -n 4"),
            std::string::npos);
  EXPECT_NE(message(R"({"ranks": 1, "memory_bandwidth": 1})", 1).find("speed.json: flops is missing"),
            std::string::npos);
  EXPECT_NE(message("not JSON", 1).find("speed.json: flops is missing"), std::string::npos);
  EXPECT_FALSE(read_calibration(dir / "none.json", 1, 1).ok());
}

}  // namespace
}  // namespace tephra::coordinator
