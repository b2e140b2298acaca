// Writing a large file past the page cache (O_DIRECT), for bytes that nobody will read soon: copying them into the cache
// costs a core several times as long as writing them does, which computations beside it feel.
#pragma once

#include <unistd.h>

#include <memory>
#include <string>

#include "base/env.h"

namespace tephra {

// A new file, as Env::create. Blocks of 1 MiB are written by a thread of the file's own while the next ones are filled;
// at most kDirectBlocks wait, then append() does. An error is returned by the next call. Where the file system refuses
// O_DIRECT, when the file is made or when it is written, a plain file is written instead. `write`: for tests, pwrite(2).
inline constexpr int kDirectBlocks = 4;
using PositionalWrite = ssize_t (*)(int fd, const void* bytes, size_t count, off_t offset);
Result<std::unique_ptr<WritableFile>> create_direct_file(const std::string& path, PositionalWrite write = ::pwrite);

}  // namespace tephra
