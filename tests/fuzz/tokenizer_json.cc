// A tokenizer.json is refused, or encodes any text to ids that it has tokens for, and decodes them. The input is a JSON merge patch (RFC
// 7396) over a small good file, so that most of what is made of it is still nearly a tokenizer.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "data/tokenizer.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kGood = TEPHRA_SOURCE_DIR "/tests/data/byte_level";

// The folder that is loaded from; gone when the program ends well.
const std::string& folder() {
  static const auto* path = [] {
    auto* made = new std::string((fs::temp_directory_path() / "tephra-fuzz-XXXXXX").string());
    if (mkdtemp(made->data()) == nullptr) std::abort();
    fs::copy_file(kGood + "/tokenizer_config.json", *made + "/tokenizer_config.json");
    std::atexit([] { fs::remove_all(folder()); });
    return made;
  }();
  return *path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size > 1 << 14) return 0;  // deeper nesting is too much for the writing of `file` below, not for the reading
  const json patch = json::parse(bytes, bytes + size, nullptr, /*allow_exceptions=*/false);
  if (!patch.is_object()) return 0;
  static const json good = json::parse(std::ifstream(kGood + "/tokenizer.json"));
  json file = good;
  file.merge_patch(patch);
  std::ofstream(folder() + "/tokenizer.json") << file.dump();
  const auto tokenizer = tephra::data::Tokenizer::load(folder());
  if (!tokenizer.ok()) return 0;
  for (const std::string text : {"a large red circle  in\nthe northwest, 12345 don't",
                                 "<|eot_id|> caf\xc3\xa9 \xff\xf0\x9f\x90\xb1\xf0\x9f", "  ", ""}) {
    const std::vector<int32_t> ids = (*tokenizer)->encode_with_bos(text);
    for (const int32_t id : ids)
      if (id < 0 || id >= (*tokenizer)->vocab_size()) std::abort();
    (*tokenizer)->decode(ids, true);
    (*tokenizer)->decode(ids, false);
  }
  return 0;
}
