#include "sharding/plan/device.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <optional>

#include "base/diagnostic.h"

namespace tephra::sharding {
namespace {

constexpr std::string_view kNames[kNumberKinds] = {"float32", "tf32", "bfloat16", "float16"};
constexpr int kMostDevices = 1 << 20;

std::vector<std::string> number_names() { return {std::begin(kNames), std::end(kNames)}; }

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  for (const Device& device : known_devices()) names.push_back(device.name);
  names.push_back("custom");
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = nearest_name(word, known);
  return nearest.empty() ? "known: " + joined(known) : "did you mean " + nearest + "? Known: " + joined(known);
}

// "80G", "80GB", "312TFLOP/s", "1.5e12"; nothing when it is no number, not finite, or not above zero.
std::optional<double> parse_quantity(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !(value > 0) || value > 1e24) return std::nullopt;
  std::string_view rest(end, text.data() + text.size() - end);
  const size_t scale = std::string_view("kMGTP").find(rest.empty() ? ' ' : rest.front());
  if (scale != std::string_view::npos) {
    for (size_t i = 0; i <= scale; ++i) value *= 1000;
    rest.remove_prefix(1);
  }
  const bool unit = rest.empty() || rest == "B" || rest == "B/s" || rest == "FLOP/s";
  return unit ? std::optional(value) : std::nullopt;
}

class ClusterParser {
 public:
  ClusterParser(std::string_view text, int64_t nodes) : text_(text), nodes_(nodes) {}

  Result<Cluster> parse() {
    if (nodes_ < 1 || nodes_ > kMostDevices)
      return invalid("--nodes " + std::to_string(nodes_) + ": must be at least 1");
    TEPHRA_RETURN_IF_ERROR(parse_count());
    TEPHRA_RETURN_IF_ERROR(parse_name());
    TEPHRA_RETURN_IF_ERROR(parse_values());
    TEPHRA_RETURN_IF_ERROR(check_complete());
    if (custom_ && cluster_.device.host_bandwidth <= 0) {
      cluster_.device.host_bandwidth = kAssumedHostBandwidth;
      cluster_.device.host_assumed = true;
    }
    return cluster_;
  }

 private:
  static Status invalid(const std::string& message) { return Status(Code::kInvalidArgument, message); }
  Status error(size_t column, const std::string& message) const {
    return invalid("--gpus " + std::string(text_) + ": column " + std::to_string(column + 1) + ": " + message);
  }

  Status parse_count() {
    int count = 1;
    const auto [end, fault] = std::from_chars(text_.data(), text_.data() + text_.size(), count);
    const size_t digits = static_cast<size_t>(end - text_.data());
    if (fault == std::errc() && digits < text_.size() && text_[digits] == 'x') {
      if (count < 1 || count > kMostDevices) return error(0, "the number of devices must be at least 1");
      at_ = digits + 1;
    } else {
      count = 1;
    }
    cluster_.devices_per_node = count;
    cluster_.nodes = static_cast<int>(nodes_);
    const int64_t ranks = count * nodes_;
    if (ranks > kMostDevices || !std::has_single_bit(static_cast<uint64_t>(ranks))) {
      const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(ranks)));
      return error(0, std::to_string(count) + " devices x " + std::to_string(nodes_) + " nodes are " +
                          std::to_string(ranks) + " ranks, not a power of two; plan for " + std::to_string(below) +
                          " or " + std::to_string(below * 2));
    }
    return ok_status();
  }

  Status parse_name() {
    const size_t colon = std::min(text_.find(':', at_), text_.size());
    const std::string name(text_.substr(at_, colon - at_));
    custom_ = name == "custom";
    cluster_.device.name = name;
    const auto& known = known_devices();
    const auto found = std::find_if(known.begin(), known.end(), [&](const Device& d) { return d.name == name; });
    if (found != known.end()) cluster_.device = *found;
    if (found == known.end() && !custom_)
      return error(at_, name.empty() ? "no device is named; known: " + joined(device_names())
                                     : "there is no device '" + name + "'; " + suggestion(name, device_names()));
    if (custom_) cluster_.device.source = "as given";
    at_ = colon;
    return ok_status();
  }

  std::map<std::string, std::function<void(double)>> keys() {
    Device& d = cluster_.device;
    std::map<std::string, std::function<void(double)>> keys = {
        {"memory", [&d](double v) { d.memory_bytes = static_cast<int64_t>(v); }},
        {"flops", [&d](double v) { d.flops.fill(v); }},
        {"bandwidth", [&d](double v) { d.memory_bandwidth = v; }},
        {"link", [&d](double v) { d.link_bandwidth = v; }},
        {"network", [&d](double v) { d.network_bandwidth = v; }},
        {"host", [&d](double v) { d.host_bandwidth = v; }},
        {"flops_share", [&d](double v) { d.flops_share = v; }},
        {"link_share", [&d](double v) { d.link_share = v; }},
        {"runtime", [&d](double v) { d.runtime_bytes = static_cast<int64_t>(v); }}};
    for (int i = 0; i < kNumberKinds; ++i) keys[std::string(kNames[i])] = [&d, i](double v) { d.flops[i] = v; };
    return keys;
  }

  Status parse_values() {
    const auto keys = this->keys();
    std::vector<std::string> names;
    for (const auto& [name, set] : keys) names.push_back(name);
    while (at_ < text_.size()) {
      const size_t begin = at_ + 1;  // past ':' or ','
      const size_t end = std::min(text_.find(',', begin), text_.size());
      const size_t equals = std::min(text_.find('=', begin), end);
      const std::string key(text_.substr(begin, equals - begin));
      const auto found = keys.find(key);
      if (found == keys.end()) return error(begin, "there is no value '" + key + "'; " + suggestion(key, names));
      const std::string value(equals < end ? text_.substr(equals + 1, end - equals - 1) : "");
      const std::optional<double> number = parse_quantity(value);
      if (!number)
        return error(std::min(equals + 1, text_.size()),
                     key + " is '" + value + "', not a number above 0; write it as 80G, 312T or 2.5e9");
      if (key.ends_with("_share") && *number > 1) return error(equals + 1, key + " is " + value + ", more than 1");
      found->second(*number);
      at_ = end;
    }
    return ok_status();
  }

  Status check_complete() const {
    const Device& d = cluster_.device;
    std::vector<std::string> missing;
    if (d.memory_bytes <= 0) missing.emplace_back("memory=");
    if (std::all_of(d.flops.begin(), d.flops.end(), [](double f) { return f <= 0; })) missing.emplace_back("flops=");
    if (d.memory_bandwidth <= 0) missing.emplace_back("bandwidth=");
    if (d.link_bandwidth <= 0 && cluster_.devices_per_node > 1) missing.emplace_back("link=");
    if (d.network_bandwidth <= 0 && cluster_.nodes > 1) missing.emplace_back("network=");
    if (missing.empty()) return ok_status();
    return error(text_.size(), "a custom device also needs " + joined(missing) +
                                   "; for example 8xcustom:memory=80G,flops=312T,bandwidth=2T,link=300G,network=25G");
  }

  const std::string_view text_;
  const int64_t nodes_;
  size_t at_ = 0;
  bool custom_ = false;
  Cluster cluster_;
};

}  // namespace

std::string_view name_of(Numbers numbers) { return kNames[static_cast<int>(numbers)]; }

std::string to_string(const Cluster& cluster) {
  const std::string devices = std::to_string(cluster.devices_per_node) + " " + cluster.device.name;
  return cluster.nodes == 1 ? devices : std::to_string(cluster.nodes) + " nodes x " + devices;
}

Result<Cluster> parse_cluster(std::string_view gpus, int64_t nodes) { return ClusterParser(gpus, nodes).parse(); }

Status check_numbers(const Device& device, Numbers numbers) {
  if (device.flops[static_cast<int>(numbers)] > 0) return ok_status();
  std::vector<std::string> has;
  for (int i = 0; i < kNumberKinds; ++i) {
    if (device.flops[i] > 0)
      has.push_back(std::string(kNames[i]) + " (" + std::to_string(std::lround(device.flops[i] / 1e12)) + " TFLOP/s)");
  }
  return Status(Code::kUnsupported,
                device.name + " does not compute in " + std::string(name_of(numbers)) + "; it has " + joined(has));
}

Result<Numbers> parse_numbers(std::string_view name) {
  const auto found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found != std::end(kNames)) return static_cast<Numbers>(found - std::begin(kNames));
  return Status(Code::kInvalidArgument,
                "--dtype " + std::string(name) + ": " + suggestion(std::string(name), number_names()));
}

}  // namespace tephra::sharding
