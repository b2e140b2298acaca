#include "base/tensor_source.h"

#include <algorithm>

namespace tephra {

const TensorInfo* TensorSource::find(const std::string& name) const {
  const auto& all = tensors();
  auto it = std::lower_bound(all.begin(), all.end(), name,
                             [](const TensorInfo& t, const std::string& n) { return t.name < n; });
  return it != all.end() && it->name == name ? &*it : nullptr;
}

}  // namespace tephra
