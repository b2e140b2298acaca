#include "coordinator/data_roots.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace tephra::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool lies_in(const fs::path& path, const std::string& root) {
  std::error_code error;
  const fs::path real_root = fs::canonical(root, error);
  if (error) return false;
  return std::mismatch(real_root.begin(), real_root.end(), path.begin(), path.end()).first == real_root.end();
}

// Any text that begins with '/' is taken for a path: rather one too many is refused.
Status check(const json& value, const std::vector<std::string>& roots) {
  if (value.is_structured()) {
    for (const json& part : value) TEPHRA_RETURN_IF_ERROR(check(part, roots));
    return ok_status();
  }
  if (!value.is_string() || !value.get_ref<const std::string&>().starts_with('/')) return ok_status();
  const std::string& text = value.get_ref<const std::string&>();
  std::error_code error;
  const fs::path real = fs::weakly_canonical(text, error);
  if (!error && std::any_of(roots.begin(), roots.end(), [&](const std::string& root) { return lies_in(real, root); }))
    return ok_status();
  std::string allowed;
  for (const std::string& root : roots) allowed += (allowed.empty() ? "" : ", ") + root;
  return {Code::kPermission,
          "'" + text + "' lies outside the folders that this coordinator's recipes may name: " + allowed};
}

}  // namespace

Status check_data_roots(const std::string& recipe_json, const std::vector<std::string>& roots) {
  if (roots.empty()) return ok_status();
  return check(json::parse(recipe_json, nullptr, false), roots);
}

}  // namespace tephra::coordinator
