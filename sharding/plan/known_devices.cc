// One row a device. Dense rates: half of what data sheets state "with sparsity".
#include "sharding/plan/device.h"

namespace tephra::sharding {
namespace {

constexpr double kTera = 1e12, kGiga = 1e9;

struct Row {
  const char* name;
  double memory_gb;
  double float32, tf32, bfloat16, float16;  // TFLOP/s
  double memory, link, network, host;       // GB/s
  const char* source;
};

// Networks are those of the vendor's own eight-device node where there is one (DGX: an adapter of 100, 200 or 400 Gb/s
// for one, or with V100 two devices), and for cards one adapter of 100 Gb/s for eight devices: say `network=` for another.
// To the host: PCIe x16 in one direction, half of what data sheets state for both: generation 3 (V100) 32 GB/s, 4 (A100,
// L40S, RTX 4090) 64 GB/s, 5 (H100, H200) 128 GB/s.
constexpr Row kRows[] = {
    {"V100-16G", 16, 15.7, 0, 0, 125, 900, 150, 6.25, 16, "NVIDIA V100 data sheet (SXM2), DGX-1: 4 x 100 Gb/s"},
    {"V100-32G", 32, 15.7, 0, 0, 125, 900, 150, 6.25, 16, "NVIDIA V100 data sheet (SXM2), DGX-1: 4 x 100 Gb/s"},
    {"A100-40G", 40, 19.5, 156, 312, 312, 1555, 300, 25, 32, "NVIDIA A100 data sheet (SXM4), DGX A100: 8 x 200 Gb/s"},
    {"A100-80G", 80, 19.5, 156, 312, 312, 2039, 300, 25, 32, "NVIDIA A100 data sheet (SXM4), DGX A100: 8 x 200 Gb/s"},
    {"H100-80G", 80, 67, 494.5, 989.5, 989.5, 3350, 450, 50, 64,
     "NVIDIA H100 data sheet (SXM5), DGX H100: 8 x 400 Gb/s"},
    {"H200", 141, 67, 494.5, 989.5, 989.5, 4800, 450, 50, 64, "NVIDIA H200 data sheet (SXM), DGX H200: 8 x 400 Gb/s"},
    {"L40S", 48, 91.6, 183, 362, 362, 864, 32, 1.56, 32, "NVIDIA L40S data sheet, PCIe 4.0 x16"},
    {"RTX4090", 24, 82.6, 82.6, 165.2, 165.2, 1008, 32, 1.56, 32, "NVIDIA Ada GPU architecture paper, PCIe 4.0 x16"},
};

}  // namespace

const std::vector<Device>& known_devices() {
  static const auto* devices = [] {
    auto* out = new std::vector<Device>;
    for (const Row& row : kRows) {
      Device device;
      device.name = row.name;
      device.memory_bytes = static_cast<int64_t>(row.memory_gb * kGiga);
      device.flops = {row.float32 * kTera, row.tf32 * kTera, row.bfloat16 * kTera, row.float16 * kTera};
      device.memory_bandwidth = row.memory * kGiga;
      device.link_bandwidth = row.link * kGiga;
      device.network_bandwidth = row.network * kGiga;
      device.host_bandwidth = row.host * kGiga;
      device.source = row.source;
      out->push_back(device);
    }
    return out;
  }();
  return *devices;
}

}  // namespace tephra::sharding
