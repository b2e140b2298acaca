// How a checkpoint came about: the checkpoints that it descends from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "storage/manifest.h"

namespace tephra::storage {

class Store;

struct HistoryEntry {
  std::string name;
  std::optional<Manifest> header;  // `tensors` is empty; nothing: the checkpoint has been removed
};

// The checkpoint that `name` means, then its parent, that one's parent, ...: up to one without a parent, or to the
// first that is not in the store any more. At most `entries_max`. Fails only if `name` does not resolve, or the index
// is damaged.
Result<std::vector<HistoryEntry>> history(const Store& store, const std::string& name, size_t entries_max = 1000);

}  // namespace tephra::storage
