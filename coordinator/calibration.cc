#include "coordinator/calibration.h"

#include <nlohmann/json.hpp>

#include "base/env.h"

namespace tephra::coordinator {

Result<sharding::Cluster> read_calibration(const std::string& path, int64_t ranks, int64_t machine_bytes) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  const auto document = nlohmann::json::parse(text, nullptr, false);
  Status fault;
  const auto number = [&](const char* field, bool needed) {
    const bool good = document.is_object() && document.contains(field) && document[field].is_number() &&
                      document[field].get<double>() > 0;
    if (!good && needed && fault.ok())
      fault = Status(Code::kInvalidArgument, path + ": " + field +
                                                 " is missing or no number above 0; write the file "
                                                 "anew with tephra-worker calibrate");
    return good ? document[field].get<double>() : 0;
  };
  sharding::Cluster cluster;
  cluster.devices_per_node = static_cast<int>(ranks);
  sharding::Device& device = cluster.device;
  device.name = ranks == 1 ? "calibrated CPU rank" : "calibrated CPU ranks";
  device.source = path;
  device.memory_bytes = machine_bytes / ranks;
  device.flops = {number("flops", true), 0, 0, 0};
  device.memory_bandwidth = number("memory_bandwidth", true);
  device.link_bandwidth = number("link_bandwidth", ranks > 1);
  device.link_seconds = number("message_seconds", ranks > 1);
  device.runtime_bytes = static_cast<int64_t>(number("process_bytes", true));
  device.flops_share = device.link_share = 1;
  const double measured = number("ranks", true);
  if (!fault.ok()) return fault;
  if (measured != static_cast<double>(ranks))
    return Status(Code::kInvalidArgument, path + " was measured with " + document["ranks"].dump() +
                                              " ranks and the recipe has " + std::to_string(ranks) +
                                              "; calibrate again: mpirun -n " + std::to_string(ranks) +
                                              " tephra-worker calibrate RECIPE");
  return cluster;
}

}  // namespace tephra::coordinator
