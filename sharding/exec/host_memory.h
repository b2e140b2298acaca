// Memory for state that is offloaded from the compute device: a mapping of a file without a name in the temporary folder
// (TMPDIR, else /tmp), which the kernel may write out. So it is no anonymous memory: on a CPU, where device and host
// share one memory, offloading relieves a rank all the same; that folder should be on a disk, as in a tmpfs it relieves
// nothing. For a GPU it is the host's side of the transfers. The file's room is reserved when it is made, and given back
// by the kernel when the process ends, however it ends. Threading: as plain memory.
#pragma once

#include <cstdint>
#include <utility>

namespace tephra::sharding {

// Owns `count` floats, zero at first. Move-only.
class HostMemory {
 public:
  HostMemory() = default;
  explicit HostMemory(int64_t count);  // throws std::runtime_error that names the folder, the bytes and the cause
  HostMemory(HostMemory&& other) noexcept { swap(other); }
  HostMemory& operator=(HostMemory&& other) noexcept {
    HostMemory(std::move(other)).swap(*this);
    return *this;
  }
  ~HostMemory();

  float* data() const { return data_; }  // null only when empty
  int64_t count() const { return count_; }
  // Takes the pages out of this process's resident memory; what they hold stays, and the next access brings it back.
  void release_pages() const;

 private:
  void swap(HostMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
  }

  float* data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace tephra::sharding
