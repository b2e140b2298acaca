// A file is refused, or each of its samples becomes ids and labels of one length, or a sentence.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "data/conversation.h"
#include "data/template.h"

namespace {
const tephra::data::Tokenizer& tokenizer() {
  static const auto* loaded = new auto(tephra::data::Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/new-language").value());
  return **loaded;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  static const auto names = tephra::data::template_names();
  const std::string& name = names[bytes[0] % names.size()];  // the first byte chooses the template
  const auto samples =
      tephra::data::parse_conversations({reinterpret_cast<const char*>(bytes) + 1, size - 1}, "fuzz.json");
  if (!samples.ok()) return 0;
  for (const tephra::data::Sample& sample : *samples) {
    auto encoded = tephra::data::encode_sample(sample, tokenizer(), name, 256);
    if (!encoded.ok()) continue;
    if (encoded->ids.size() != encoded->labels.size()) std::abort();
    tephra::data::finish_encoding(*encoded, tokenizer().unk_id(), 256);
    if (encoded->ids.size() != encoded->labels.size() || encoded->ids.size() > 256) std::abort();
  }
  return 0;
}
