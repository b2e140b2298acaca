// From a data sheet to the seconds of each operation. Matrix products at a share of the device's rate, or at the speed
// at which their weights are read, whichever takes longer; everything else at the speed of memory.
#include <algorithm>
#include <bit>

#include "sharding/plan/step_time.h"

namespace tephra::sharding {
namespace {

constexpr double kFloat = sizeof(float);
// Passes over memory. An activation that is kept is written once and read once by what comes next; backward reads it
// and writes and reads a gradient of its size. A gradient is added to a sum: two read, one written. The norm reads a
// gradient; AdamW reads it with parameter and moments, and writes those three.
constexpr double kForwardPasses = 2, kBackwardPasses = 4, kSumPasses = 3, kUpdatePasses = 1 + 4 + 3;

class Costs {
 public:
  Costs(const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& batch, const Cluster& cluster,
        Numbers numbers)
      : units_(units), policy_(policy), batch_(batch), cluster_(cluster), numbers_(numbers) {}

  OpSeconds all() const {
    OpSeconds out;
    double updated = 0;
    for (int u = 0; u < static_cast<int>(units_.size()); ++u) {
      const double flat = static_cast<double>(units_[u].flat_numel);
      out.forward.push_back(products(u, 1) + memory(activations(u) * kForwardPasses * element(u)));
      out.backward.push_back(backward(u));
      out.gather.push_back(all_gather(flat * element(u), shard_group()));
      out.reduce.push_back(sum(flat * kFloat));
      const double shard = units_[u].trainable ? flat / ranks_per_copy(policy_) : 0;
      updated += shard;
      const double host = cluster_.device.host_rate();
      if (offloads(policy_)) out.transfer.push_back(shard * updated_bytes(u) / host);
      if (offloads_parameters(policy_)) out.fetch.push_back(flat / ranks_per_copy(policy_) * element(u) / host);
    }
    out.update = memory(updated * kUpdatePasses * kFloat);
    out.exchange =
        2 * ring_latency({static_cast<double>(cluster_.devices_per_node), static_cast<double>(cluster_.nodes)});
    return out;
  }

 private:
  double memory(double bytes) const { return bytes / cluster_.device.memory_bandwidth; }
  // Of one value, what its update takes from the host and brings back. The narrow copy that is gathered goes one way only.
  double updated_bytes(int unit) const {
    const double moments = policy_.moments * kFloat;
    if (!offloads_parameters(policy_)) return moments;
    return moments + kFloat + (units_[unit].compute_dtype == DType::kFloat32 ? 0 : element(unit) / 2);
  }
  double element(int unit) const { return static_cast<double>(size_bytes(units_[unit].compute_dtype)); }
  double rate(int unit) const { return cluster_.device.rate(numbers_of(units_[unit], numbers_)); }
  double activations(int unit) const {
    return units_[unit].activation_per_token * static_cast<double>(batch_.count(units_[unit].tokens));
  }
  double products(int unit, int times) const {
    const double weights = memory(static_cast<double>(gathered_bytes(units_[unit])));
    return times *
           std::max(2 * forward_macs(units_[unit], batch_) / rate(unit), units_[unit].macs_per_token > 0 ? weights : 0);
  }
  double backward(int unit) const {
    const int times = backward_factor(units_, unit);
    if (times == 0) return 0;
    const double flat = static_cast<double>(units_[unit].flat_numel);
    return products(unit, times) + memory(activations(unit) * kBackwardPasses * element(unit)) +
           (units_[unit].trainable ? memory(flat * kSumPasses * kFloat) : 0);
  }

  // A group of ranks that talk to each other: so many devices on each of so many nodes.
  struct Group {
    double on_node = 1, nodes = 1;
    double ranks() const { return on_node * nodes; }
  };
  // Neighbours that divide a copy of the state, and the ranks that hold the same part of the other copies.
  Group shard_group() const {
    const double ranks = ranks_per_copy(policy_), on_node = std::min<double>(ranks, cluster_.devices_per_node);
    return {on_node, ranks / on_node};
  }
  Group copy_group() const {
    const Group shards = shard_group();
    const double on_node = cluster_.devices_per_node / shards.on_node;
    return {on_node, policy_.world_size / shards.ranks() / on_node};
  }

  // Bytes of a whole buffer, one part of which each rank of the group has: what each receives from its node, and from
  // others.
  double link_seconds(double bytes, const Group& g) const {
    const Device& d = cluster_.device;
    return g.on_node > 1 ? bytes * (g.on_node - 1) / g.on_node / (d.link_bandwidth * d.link_share) : 0;
  }
  double network_seconds(double bytes, const Group& g) const {
    const Device& d = cluster_.device;
    return g.nodes > 1 ? bytes / g.on_node * (g.nodes - 1) / g.nodes / (d.network_bandwidth * d.link_share) : 0;
  }

  // A ring: all links are busy at once, and a message takes as many hops as there are other ranks, one in each node
  // over the network.
  double ring_latency(const Group& g) const {
    const Device& d = cluster_.device;
    const double network = g.nodes > 1 ? std::min(g.nodes, g.ranks() - 1) : 0;
    return (g.ranks() - 1 - network) * d.link_seconds + network * d.network_seconds;
  }
  double all_gather(double bytes, const Group& g) const {
    if (g.ranks() == 1 || bytes == 0) return 0;
    return std::max(link_seconds(bytes, g), network_seconds(bytes, g)) + ring_latency(g);
  }

  // Recursive halving with the nearest first (docs/architecture.md): one exchange after the other, within the node and
  // then between nodes.
  double reduce_scatter(double bytes, const Group& g) const {
    if (g.ranks() == 1 || bytes == 0) return 0;
    const Device& d = cluster_.device;
    const auto exchanges = [](double n) { return static_cast<double>(std::bit_width(static_cast<unsigned>(n)) - 1); };
    return link_seconds(bytes, g) + network_seconds(bytes, g) + exchanges(g.on_node) * d.link_seconds +
           exchanges(g.nodes) * d.network_seconds;
  }
  // As RankGroups::sum (sharding/exec) does it: within the shard group, then each part over the copies and back.
  double sum(double bytes) const {
    const Group shards = shard_group(), copies = copy_group();
    const double part = bytes / shards.ranks();
    return reduce_scatter(bytes, shards) + reduce_scatter(part, copies) + all_gather(part, copies);
  }

  const std::vector<UnitSpec>& units_;
  const Policy& policy_;
  const MicroBatchSize& batch_;
  const Cluster& cluster_;
  const Numbers numbers_;
};

}  // namespace

OpSeconds op_seconds(const std::vector<UnitSpec>& units, const Policy& policy, const MicroBatchSize& batch,
                     const Cluster& cluster, Numbers numbers) {
  return Costs(units, policy, batch, cluster, numbers).all();
}

}  // namespace tephra::sharding
