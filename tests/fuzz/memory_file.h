// Bytes as a file with a path, without a disk: for readers that map what they read.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace tephra {

class MemoryFile {
 public:
  MemoryFile(const uint8_t* bytes, size_t size) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    if (fd_ >= 0 && write(fd_, bytes, size) == static_cast<ssize_t>(size)) path_ = "/proc/self/fd/" + std::to_string(fd_);
  }
  ~MemoryFile() {
    if (fd_ >= 0) close(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }  // "" when the kernel gave none

 private:
  int fd_;
  std::string path_;
};

}  // namespace tephra
