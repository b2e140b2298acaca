#include "base/program.h"

#include <unistd.h>

#include <cerrno>
#include <climits>

namespace tephra {

Result<std::string> program_folder() {
  char self[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", self, sizeof self);
  if (size <= 0) return errno_status(errno, "readlink /proc/self/exe");
  const std::string path(self, static_cast<size_t>(size));
  return path.substr(0, path.rfind('/'));
}

}  // namespace tephra
