#include "base/memory.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace tephra {

void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

int64_t machine_memory_bytes() {
  int64_t total = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string word; info >> word;) {
    if (word != "MemTotal:") continue;
    int64_t kibibytes = 0;
    if (info >> kibibytes) total = kibibytes * 1024;
    break;
  }
  int64_t limit = 0;  // the file says "max" where there is none
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && limit > 0 && total > 0) total = std::min(total, limit);
  return total;
}

}  // namespace tephra
