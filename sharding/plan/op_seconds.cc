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
      out.gather.push_back(all_gather(flat * element(u)));
      const bool whole = policy_.shard == ShardLevel::kNone;
      out.reduce.push_back(reduce_scatter(flat * kFloat) + (whole ? all_gather(flat * kFloat) : 0));
      if (units_[u].trainable) updated += flat / ranks_per_copy(policy_);
    }
    out.update = memory(updated * kUpdatePasses * kFloat);
    out.exchange = 2 * ring_latency();
    return out;
  }

 private:
  double memory(double bytes) const { return bytes / cluster_.device.memory_bandwidth; }
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

  double nodes() const { return cluster_.nodes; }
  double on_node() const { return cluster_.devices_per_node; }
  // Bytes of a whole buffer, one part of which each rank has: what each receives from its node, and from others.
  double link_seconds(double bytes) const {
    const Device& d = cluster_.device;
    return on_node() > 1 ? bytes * (on_node() - 1) / on_node() / (d.link_bandwidth * d.link_share) : 0;
  }
  double network_seconds(double bytes) const {
    const Device& d = cluster_.device;
    return nodes() > 1 ? bytes / on_node() * (nodes() - 1) / nodes() / (d.network_bandwidth * d.link_share) : 0;
  }

  // A ring: all links are busy at once, and a message takes as many hops as there are other ranks, one in each node
  // over the network.
  double ring_latency() const {
    const Device& d = cluster_.device;
    const double network = nodes() > 1 ? nodes() : 0;
    return (policy_.world_size - 1 - network) * d.link_seconds + network * d.network_seconds;
  }
  double all_gather(double bytes) const {
    if (policy_.world_size == 1 || bytes == 0) return 0;
    return std::max(link_seconds(bytes), network_seconds(bytes)) + ring_latency();
  }

  // Recursive halving with the nearest first (docs/architecture.md): one exchange after the other, within the node and
  // then between nodes.
  double reduce_scatter(double bytes) const {
    if (policy_.world_size == 1 || bytes == 0) return 0;
    const Device& d = cluster_.device;
    const auto exchanges = [](int n) { return static_cast<double>(std::bit_width(static_cast<unsigned>(n)) - 1); };
    return link_seconds(bytes) + network_seconds(bytes) + exchanges(cluster_.devices_per_node) * d.link_seconds +
           exchanges(cluster_.nodes) * d.network_seconds;
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
