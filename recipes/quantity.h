// Times and sizes as people write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace tephra::recipes {

// "90s", "30min", "12h", "7d" (a whole number, at least 1) in milliseconds; nothing for any other text, or more than a
// hundred years.
std::optional<int64_t> parse_duration_ms(const std::string& text);

// "500MB", "1.5GB", "2GiB", "4096" (bytes): B, kB, MB, GB, TB are powers of ten, KiB, MiB, GiB, TiB of two; at least 1.
// Nothing for any other text, or an exbibyte and more.
std::optional<uint64_t> parse_bytes(const std::string& text);

}  // namespace tephra::recipes
