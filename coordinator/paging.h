// Pages of lists. A cursor is opaque to clients: what `next` of one page said is given for the page after it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"

namespace tephra::coordinator {

inline constexpr int64_t kPageDefault = 100, kPageMax = 1000;

// Cursors over numbers from 1. 0: no further page (null), and the first one (empty text).
nlohmann::json number_cursor(uint64_t next);
Result<uint64_t> parse_number_cursor(const std::string& text);  // kInvalidArgument

}  // namespace tephra::coordinator
