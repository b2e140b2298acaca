// A tokenizer.model is refused, or encodes any text to ids that it has pieces for.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/bpe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto model = tephra::data::BpeModel::parse({reinterpret_cast<const char*>(bytes), size}, "fuzz");
  if (!model.ok()) return 0;
  std::vector<int32_t> ids;
  for (const std::string_view text : {"a red circle", "  two  spaces ", "\xff\xc3\xa9\xf0\x9f\x90\xb1", ""})
    for (const bool prefix : {false, true}) (*model)->encode(text, prefix, ids);
  for (const int32_t id : ids)
    if (id < 0 || id >= (*model)->size()) std::abort();
  return 0;
}
