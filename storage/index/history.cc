#include "storage/index/history.h"

#include <algorithm>

#include "storage/index/store.h"

namespace tephra::storage {

Result<std::vector<HistoryEntry>> history(const Store& store, const std::string& name, size_t entries_max) {
  std::vector<HistoryEntry> entries;
  TEPHRA_ASSIGN_OR_RETURN(std::string next, store.resolve(name));
  while (!next.empty() && entries.size() < entries_max) {
    // A name that was removed and used again could lead back to where it came from.
    if (std::any_of(entries.begin(), entries.end(), [&](const HistoryEntry& e) { return e.name == next; })) break;
    Result<Manifest> manifest = store.get(next);
    if (!manifest.ok() && manifest.status().code() != Code::kNotFound) return manifest.status();
    HistoryEntry entry{next, std::nullopt};
    next.clear();
    if (manifest.ok()) {
      next = manifest->parent;
      manifest->tensors.clear();
      entry.header = std::move(*manifest);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace tephra::storage
