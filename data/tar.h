// Tar archives as far as WebDataset's shards need them: regular files by name, in ustar (POSIX 1003.1-1988), pax (-2001) and GNU form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace tephra::data {

struct TarMember {
  std::string name;
  std::string_view bytes;
  uint64_t begin = 0;  // of its first header
  uint64_t end = 0;    // where the next member's begins
};

// The first regular file at or behind `offset`, where a header begins; nothing at the end of the archive. Links, folders and devices are
// passed over. kCorruption: no header there, or a member that is cut off, with the offset.
Result<std::optional<TarMember>> next_tar_member(std::string_view archive, uint64_t offset);

}  // namespace tephra::data
