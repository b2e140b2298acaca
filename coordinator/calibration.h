// What `tephra-worker calibrate` measured, as a device to plan for.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "sharding/plan/device.h"

namespace tephra::coordinator {

// `ranks` processes on one machine of `machine_bytes` of memory, each as fast as the file says; it was measured with as
// many that shared the machine, and for another number it is another machine. kNotFound, kInvalidArgument with the
// file and the field.
Result<sharding::Cluster> read_calibration(const std::string& path, int64_t ranks, int64_t machine_bytes);

}  // namespace tephra::coordinator
