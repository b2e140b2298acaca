#include "coordinator/readiness.h"

#include <unistd.h>

#include <cstdlib>

#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

constexpr std::chrono::seconds kRemembered{1};

// As execvp finds it.
Status find_program(const std::string& program) {
  if (program.find('/') != std::string::npos)
    return ::access(program.c_str(), X_OK) == 0
               ? ok_status()
               : Status(Code::kUnavailable, program + " is not there, or is no program that may be run");
  const char* path = std::getenv("PATH");
  const std::string folders = path == nullptr ? "/usr/bin:/bin" : path;
  for (size_t begin = 0; begin <= folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    if (::access((folders.substr(begin, end - begin) + "/" + program).c_str(), X_OK) == 0) return ok_status();
    begin = end + 1;
  }
  return {Code::kUnavailable, program + " is in no folder of PATH; install it"};
}

}  // namespace

std::vector<ReadinessCheck> Readiness::checks() {
  std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (!found_.empty() && now - at_ < kRemembered) return found_;
  at_ = now;
  const std::string value = std::to_string(options_.clock->unix_ms());
  found_ = {{"journal", store_.write({{storage::ColumnFamily::kMeta, "coordinator/ready", value, false}})},
            {"launcher", find_program(options_.launcher == "slurm" ? "sbatch" : options_.launching.mpirun)},
            {"worker", find_program(options_.worker_program)}};
  return found_;
}

}  // namespace tephra::coordinator
