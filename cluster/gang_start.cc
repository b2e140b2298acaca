#include "cluster/gang_start.h"

#include <sys/random.h>

#include <filesystem>

#include "base/check.h"
#include "cluster/child_process.h"

namespace tephra::cluster {
namespace {

constexpr char kMarkerName[] = "TEPHRA_GANG";

Status check(const GangSpec& spec) {
  if (spec.command.empty()) return {Code::kInvalidArgument, "the gang has no command"};
  if (spec.ranks < 1)
    return {Code::kInvalidArgument, "a gang of " + std::to_string(spec.ranks) + " ranks makes no sense"};
  if (spec.log_dir.empty()) return {Code::kInvalidArgument, "the gang has no log_dir"};
  for (const auto& [name, value] : spec.environment) {
    if (name.empty() || name.find_first_of("=,") != std::string::npos) {
      return {Code::kInvalidArgument, "'" + name + "' is no name of an environment variable"};
    }
  }
  return {};
}

Status make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? errno_status(error.value(), "mkdir " + path) : Status();
}

}  // namespace

Result<std::string> prepare_start(const GangSpec& spec) {
  TEPHRA_RETURN_IF_ERROR(check(spec));
  std::string program = find_program(spec.command[0]);
  if (program.empty()) {
    return Status(
        Code::kUnavailable, RetryClass::kNeedsOperator,
        "the ranks' program '" + spec.command[0] + "' was not found or cannot be run; check the installation");
  }
  TEPHRA_RETURN_IF_ERROR(make_directory(spec.log_dir));
  if (!spec.work_dir.empty()) TEPHRA_RETURN_IF_ERROR(make_directory(spec.work_dir));
  return program;
}

std::string random_marker() {
  unsigned char bytes[16];
  TEPHRA_CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes), "getrandom gave too little");
  std::string text;
  for (unsigned char b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

std::string marker_entry(const std::string& marker) { return std::string(kMarkerName) + "=" + marker; }

std::map<std::string, std::string> rank_environment(const GangSpec& spec, const std::string& marker) {
  std::map<std::string, std::string> environment = spec.environment;
  environment.emplace("OMP_NUM_THREADS", std::to_string(spec.threads_per_rank));
  environment[kMarkerName] = marker;
  return environment;
}

}  // namespace tephra::cluster
