#include "cluster/nccl_plugin.h"

#include <dlfcn.h>

#include "base/program.h"

namespace tephra::cluster {
namespace {

Status other_version(const std::string& path, const std::string& what) {
  return {Code::kUnsupported, RetryClass::kNeedsOperator,
          path + " is " + what + ", and this program needs version " + std::to_string(kNcclPluginVersion) +
              " of Tephra's GPU plugin; build and install programs and plugin together (cmake --preset cuda)"};
}

}  // namespace

Result<std::string> nccl_plugin_path() {
  TEPHRA_ASSIGN_OR_RETURN(const std::string folder, program_folder());
  return folder.substr(0, folder.rfind('/')) + "/lib/libtephra_cuda.so";
}

Result<NcclPlugin> NcclPlugin::load(const std::string& path) {
  // RTLD_LOCAL: the plugin carries its own copy of base, which must not stand in for the program's.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* cause = dlerror();
    return Status(Code::kUnavailable, RetryClass::kNeedsOperator,
                  "GPUs were asked for and Tephra's GPU plugin does not load (" +
                      std::string(cause != nullptr ? cause : path.c_str()) +
                      "); build it on a machine with CUDA and NCCL (cmake --preset cuda, then cmake --build --preset "
                      "cuda), or run without GPUs");
  }
  const auto version = reinterpret_cast<NcclPluginVersionFunction>(dlsym(library, kNcclPluginVersionSymbol));
  const auto entry = reinterpret_cast<NcclPluginFunction>(dlsym(library, kNcclPluginSymbol));
  Status wrong;
  if (version == nullptr || entry == nullptr) {
    wrong = other_version(path, "no plugin of Tephra's");
  } else if (version() != kNcclPluginVersion) {
    wrong = other_version(path, "version " + std::to_string(version()));
  }
  if (!wrong.ok()) {
    dlclose(library);
    return wrong;
  }
  return NcclPlugin(entry());
}

}  // namespace tephra::cluster
