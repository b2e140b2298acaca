#include "coordinator/paging.h"

#include <charconv>

namespace tephra::coordinator {

nlohmann::json number_cursor(uint64_t next) {
  return next == 0 ? nlohmann::json(nullptr) : nlohmann::json(std::to_string(next));
}

Result<uint64_t> parse_number_cursor(const std::string& text) {
  uint64_t value = 0;
  if (text.empty()) return value;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && stop == text.data() + text.size() && value > 0) return value;
  return Status(Code::kInvalidArgument, "cursor '" + text + "' is not one that a page of this list gave as `next`");
}

}  // namespace tephra::coordinator
