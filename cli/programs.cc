#include "cli/programs.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/program.h"

namespace tephra::cli {

Result<std::string> find_worker() {
  if (const char* named = std::getenv("TEPHRA_WORKER"); named != nullptr && *named != '\0') return std::string(named);
  TEPHRA_ASSIGN_OR_RETURN(std::string path, program_folder());
  path += "/tephra-worker";
  if (access(path.c_str(), X_OK) != 0)
    return Status(Code::kUnavailable,
                  "the program tephra-worker is not at " + path + "; build it (make) or set TEPHRA_WORKER");
  return path;
}

Status exec_worker(const std::vector<std::string>& arguments) {
  TEPHRA_ASSIGN_OR_RETURN(std::string path, find_worker());
  std::vector<char*> argv{path.data()};
  std::vector<std::string> copy = arguments;
  for (std::string& a : copy) argv.push_back(a.data());
  argv.push_back(nullptr);
  execv(path.c_str(), argv.data());
  return errno_status(errno, "starting " + path);
}

}  // namespace tephra::cli
