// The allocator's habits, for the whole process, and how much memory there is.
#pragma once

#include <cstdint>

namespace tephra {

// Freed memory stays with the process and is used again, tensors of many megabytes too. By default malloc gives it back to the system,
// which then clears each page of the next tensor anew: a sixth of the time of a prompt (docs/performance.md). Nothing where malloc is
// not glibc's.
void keep_freed_memory();

// Of the machine, or of this process's control group (version 2) where that allows less; 0: not known.
int64_t machine_memory_bytes();

}  // namespace tephra
