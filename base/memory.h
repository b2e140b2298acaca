// The allocator's habits, for the whole process.
#pragma once

namespace tephra {

// Freed memory stays with the process and is used again, tensors of many megabytes too. By default malloc gives it back to the system,
// which then clears each page of the next tensor anew: a sixth of the time of a prompt (docs/performance.md). Nothing where malloc is
// not glibc's.
void keep_freed_memory();

}  // namespace tephra
