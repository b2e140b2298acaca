#include "sharding/exec/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

namespace tephra::sharding {
namespace {

[[noreturn]] void refuse(const std::string& folder, size_t bytes, int error) {
  throw std::runtime_error("cannot keep " + std::to_string(bytes) + " bytes of offloaded state in " + folder + ": " +
                           std::generic_category().message(error) + "; set TMPDIR to a folder on a disk with room");
}

}  // namespace

HostMemory::HostMemory(int64_t count) {
  if (count == 0) return;
  const char* set = std::getenv("TMPDIR");
  const std::string folder = set != nullptr && *set != '\0' ? set : "/tmp";
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  std::string path = folder + "/tephra-offload-XXXXXX";
  const int file = ::mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) refuse(folder, bytes, errno);
  ::unlink(path.c_str());
  // Reserved now: a full disk is an error here, and would be a SIGBUS at a later write.
  int error = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  void* mapped = MAP_FAILED;
  if (error == 0) {
    mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) error = errno;
  }
  ::close(file);
  if (error != 0) refuse(folder, bytes, error);
  data_ = static_cast<float*>(mapped);
  count_ = count;
}

HostMemory::~HostMemory() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(count_) * sizeof(float));
}

void HostMemory::release_pages() const {
  // Of a shared mapping this loses nothing: the file keeps what was written.
  if (data_ != nullptr) ::madvise(data_, static_cast<size_t>(count_) * sizeof(float), MADV_DONTNEED);
}

}  // namespace tephra::sharding
