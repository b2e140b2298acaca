// What a plan is made for: devices with their vendors' figures, and how many of them there are. Values only.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tephra::sharding {

// What matrix products are computed in. kTf32 takes and gives float32 and rounds between (NVIDIA's tensor cores from
// Ampere on); the others are what they say.
enum class Numbers { kFloat32, kTf32, kBFloat16, kFloat16 };
inline constexpr int kNumberKinds = 4;
std::string_view name_of(Numbers numbers);  // "float32", "tf32", "bfloat16", "float16"
inline int64_t element_bytes(Numbers numbers) {
  return numbers == Numbers::kFloat32 || numbers == Numbers::kTf32 ? 4 : 2;
}

// Bandwidths and rates are per second, of one device, bandwidths in one direction, as the vendor states them.
struct Device {
  std::string name;
  int64_t memory_bytes = 0;
  std::array<double, kNumberKinds> flops{};  // dense, by Numbers; 0: the device lacks them
  double memory_bandwidth = 0;               // bytes
  double link_bandwidth = 0;                 // bytes, to the other devices of its node
  double network_bandwidth = 0;              // bytes, to other nodes: its share of the node's adapters
  double host_bandwidth = 0;                 // bytes, to the host's memory; 0: the host's memory is its own (a CPU)
  bool host_assumed = false;                 // it was not given
  std::string source;                        // of these figures
  // What is reached of them, and what each message costs beside its bytes; docs/planning.md says where they come from.
  double flops_share = 0.6;               // by large matrix products
  double link_share = 0.7;                // by large collectives, network included
  double link_seconds = 3.4e-6;           // per message within a node
  double network_seconds = 14e-6;         // per message between nodes
  int64_t runtime_bytes = 2'000'000'000;  // the driver's context, libraries, collectives' buffers
  // Bytes per second that are copied to or from the host. In one memory each is read and written.
  double host_rate() const { return host_bandwidth > 0 ? host_bandwidth * link_share : memory_bandwidth / 2; }
  double rate(Numbers numbers) const { return flops[static_cast<int>(numbers)] * flops_share; }
};

// Of a custom device without host=: PCIe 4.0 x16, 64 GB/s in both directions together.
inline constexpr double kAssumedHostBandwidth = 32e9;

struct Cluster {
  Device device;
  int devices_per_node = 1;
  int nodes = 1;
  int world_size() const { return devices_per_node * nodes; }
};
std::string to_string(const Cluster& cluster);  // "2 nodes x 8 A100-80G"

const std::vector<Device>& known_devices();

// `gpus`: "8xA100-80G" (the count may be left out: 1), "A100-80G:network=12.5G" with values in place of the table's, or
// "8xcustom:memory=80G,flops=312T,bandwidth=2T,link=300G". Keys: memory (bytes), flops (of every kind of numbers),
// float32, tf32, bfloat16, float16 (FLOP/s), bandwidth, link, network, host (bytes/s), flops_share, link_share (0 to 1),
// runtime (bytes). A number may end in k, M, G, T or P (powers of ten) and B, B/s or FLOP/s. A custom device needs
// memory, flops and bandwidth; link, and network on several nodes, too.
// kInvalidArgument with the column in `gpus`, the nearest known name and the remedy; also when the ranks are no power
// of two, which every sharding needs. More than kMaxWorldSize is taken: a plan on paper.
Result<Cluster> parse_cluster(std::string_view gpus, int64_t nodes);

// Ok when the device computes in `numbers`; else kUnsupported with what it does compute in.
Status check_numbers(const Device& device, Numbers numbers);
// By name_of. kInvalidArgument with the nearest.
Result<Numbers> parse_numbers(std::string_view name);

}  // namespace tephra::sharding
