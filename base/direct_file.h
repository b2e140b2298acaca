// Writing a large file past the page cache (O_DIRECT), for bytes that nobody will read soon: copying them into the cache
// costs a core several times as long as writing them does, which computations beside it feel.
#pragma once

#include <memory>
#include <string>

#include "base/env.h"

namespace tephra {

// A new file, as Env::create. Blocks of 1 MiB are written by a thread of the file's own while the next ones are filled;
// at most kDirectBlocks wait, then append() does. An error is returned by the next call. Where the file system has no
// O_DIRECT (tmpfs) a plain file is written instead.
inline constexpr int kDirectBlocks = 4;
Result<std::unique_ptr<WritableFile>> create_direct_file(const std::string& path);

}  // namespace tephra
