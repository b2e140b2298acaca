// The exported functions of libtephra_cuda.so; everything else in it is hidden.
#include "cluster/nccl/nccl_communicator.h"

#define TEPHRA_EXPORT extern "C" __attribute__((visibility("default")))

TEPHRA_EXPORT int32_t tephra_nccl_plugin_version() { return tephra::cluster::kNcclPluginVersion; }

TEPHRA_EXPORT const tephra::cluster::NcclPluginFunctions* tephra_nccl_plugin() {
  using namespace tephra::cluster;
  static const NcclPluginFunctions functions = {nccl_version, nccl_devices, make_nccl_communicator};
  return &functions;
}
