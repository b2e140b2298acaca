// A file is refused, or every tensor that it names lies in it.
#include <cstdlib>

#include "model/spec/safetensors.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const tephra::MemoryFile file(bytes, size);
  if (file.path().empty()) return 0;
  const auto opened = tephra::model::SafetensorsFile::open(file.path());
  if (!opened.ok()) return 0;
  unsigned sum = 0;
  for (const tephra::TensorInfo& tensor : (*opened)->tensors()) {
    const auto range = (*opened)->bytes(tensor.name);
    if (!range.ok() || static_cast<int64_t>(range->size()) != tephra::numel(tensor.shape) * tephra::size_bytes(tensor.dtype))
      std::abort();
    if (!range->empty()) sum += static_cast<unsigned>(range->front()) + static_cast<unsigned>(range->back());
  }
  return sum == ~0u ? -1 : 0;
}
