// The GPU part of an installation is a shared library of its own, libtephra_cuda.so (cluster/nccl, preset `cuda`), so
// that the programs start and work where there is no CUDA, no NCCL and no driver. It is looked for only when GPUs are
// asked for. Nothing here includes a CUDA header.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cluster/communicator.h"

namespace tephra::cluster {

struct NcclDevices {
  int count = 0;
  std::string none_because;  // when count is 0: the cause, in CUDA's words
};

// What the plugin hands out. C++ types cross the border, so both sides are the same build: raise kNcclPluginVersion
// with every change of this struct, Communicator, Status or anything else that they are made of.
struct NcclPluginFunctions {
  std::string (*nccl_version)();
  NcclDevices (*devices)();
  Result<std::unique_ptr<Communicator>> (*make_communicator)(std::unique_ptr<Communicator> control, int device,
                                                             Deadline deadline);
};
inline constexpr int32_t kNcclPluginVersion = 1;
// The plugin's two exported functions. The version is asked for first and with C types only.
inline constexpr const char* kNcclPluginVersionSymbol = "tephra_nccl_plugin_version";
inline constexpr const char* kNcclPluginSymbol = "tephra_nccl_plugin";
using NcclPluginVersionFunction = int32_t (*)();
using NcclPluginFunction = const NcclPluginFunctions* (*)();

// Where the plugin of this installation is: libtephra_cuda.so in the folder `lib` beside the program's folder.
Result<std::string> nccl_plugin_path();

// A loaded plugin. It stays loaded until the process ends, since CUDA and NCCL start threads; copies are the same one.
class NcclPlugin {
 public:
  // kUnavailable (needs operator): not there, or one of its libraries is not. kUnsupported: not a plugin, or another
  // version. Each message is a sentence with cause and remedy.
  static Result<NcclPlugin> load(const std::string& path);

  std::string nccl_version() const { return functions_->nccl_version(); }  // "2.28.9"
  NcclDevices devices() const { return functions_->devices(); }            // never fails: a machine without is 0

  // One rank of a group over NCCL. Collective: every rank calls it with its member of the same control group, and
  // different devices. `control` is a host transport (MPI, threads) that carries NCCL's id, the headers that are
  // compared before each collective, barriers and goodbyes; it is owned from now on.
  //   device: 0-based index among the devices that the process sees.
  // kUnavailable (needs operator): there is no such device; the peers then fail with kPeerLost. Otherwise as Communicator.
  Result<std::unique_ptr<Communicator>> make_communicator(std::unique_ptr<Communicator> control, int device,
                                                          Deadline deadline) const {
    return functions_->make_communicator(std::move(control), device, deadline);
  }

 private:
  explicit NcclPlugin(const NcclPluginFunctions* functions) : functions_(functions) {}
  const NcclPluginFunctions* functions_;
};

}  // namespace tephra::cluster
