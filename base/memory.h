// The machine's memory, and the allocator's habits for the whole process.
#pragma once

#include <cstdint>

namespace tephra {

// Freed memory stays with the process and is used again, tensors of many megabytes too. By default malloc gives it back to the system,
// which then clears each page of the next tensor anew: a sixth of the time of a prompt (docs/performance.md). Nothing where malloc is
// not glibc's.
void keep_freed_memory();

// Bytes that this process and its children may use together: the machine's memory, or the control group's limit where that is less. 0
// where neither can be read.
int64_t machine_memory_bytes();

}  // namespace tephra
