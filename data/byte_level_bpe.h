// Byte-level BPE (Radford et al. 2019), as LLaMA 3 and GPT-2 have it: text is cut into words by a regular expression, and the bytes of
// each word are merged pair by pair. From the layout of Hugging Face's tokenizer.json. Tokenizer adds what is around it.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"

namespace tephra::data {

// Immutable; any thread.
class ByteLevelBpe {
 public:
  // From tokenizer.json; `name` stands for it in messages. kCorruption: fields are missing or of another type, or a merge of pieces that
  // are not there. kUnsupported: another model than BPE, a normalizer, another pre-tokenizer than a regular expression and
  // byte level.
  static Result<std::unique_ptr<ByteLevelBpe>> parse(const nlohmann::json& file, const std::string& name);
  ~ByteLevelBpe();

  // Appends the ids of `text`; bytes that are not UTF-8 count as U+FFFD.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;
  // The bytes that a piece stands for; "" for an id without one.
  std::string_view bytes(int32_t id) const;
  // The piece as it is written in the file ("Ġthe"); "" for an id without one.
  std::string piece(int32_t id) const;
  int32_t id_of(const std::string& piece) const;  // -1: none
  int32_t size() const;                           // the largest id + 1

 private:
  struct Words;  // the compiled expressions
  struct Merge {
    int32_t rank, id;
  };
  ByteLevelBpe();
  Status read_model(const nlohmann::json& model, const std::string& name);
  Status read_words(const nlohmann::json& file, const std::string& name);
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::vector<std::string> pieces_, bytes_;  // by id
  std::unordered_map<std::string, int32_t> id_of_piece_, id_of_bytes_;
  std::unordered_map<uint64_t, Merge> merges_;  // by the two ids
  bool whole_words_ = false;                    // a word that is a piece is taken as it is ("ignore_merges")
  std::unique_ptr<Words> words_;
};

}  // namespace tephra::data
