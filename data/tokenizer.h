// LLaMA's tokenizers. Of LLaMA 1 and 2: SentencePiece BPE with byte fallback, and the rules of Hugging Face's slow
// LlamaTokenizer around it (special tokens split off first; `legacy` decides what happens after them); ids equal
// LlamaTokenizer's of transformers 4.37. Of LLaMA 3: byte-level BPE from tokenizer.json; ids equal those of Hugging Face's
// tokenizers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/status.h"

namespace tephra::data {

// Immutable after load; every method may be called from several threads at once.
class Tokenizer {
 public:
  // Reads tokenizer.model, or tokenizer.json where there is none (byte_level_bpe.h), and, where they exist, tokenizer_config.json, special_tokens_map.json and added_tokens.json
  // from a folder. `legacy` is tokenizer_config.json's; without the key or the file it is true, as in transformers.
  // kNotFound: neither file. kCorruption: not a SentencePiece model, or not JSON. kUnsupported: a model that is
  // not BPE with the identity normalizer, or an added token with single_word.
  static Result<std::unique_ptr<Tokenizer>> load(const std::string& model_dir);
  ~Tokenizer();

  // Ids of UTF-8 text without BOS; special and added tokens written in the text become their ids. Bytes that are not
  // UTF-8 count as U+FFFD each. Never fails.
  std::vector<int32_t> encode(std::string_view text) const;
  std::vector<int32_t> encode_with_bos(std::string_view text) const;
  // Text of ids as LlamaTokenizer.decode(clean_up_tokenization_spaces=False) gives it: the first piece's leading space
  // is dropped, and each byte token that is part of no valid UTF-8 becomes one U+FFFD. Ids without a piece (negative,
  // or past the vocabulary, as padded embedding rows have) are left out.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const;

  int32_t bos_id() const;
  int32_t eos_id() const;
  int32_t unk_id() const;  // -1: none, as byte-level BPE needs none
  int32_t pad_id() const;  // -1: none
  bool legacy() const;
  int32_t vocab_size() const;                   // pieces and added tokens: the largest id + 1
  int32_t model_size() const;                   // pieces without the added tokens
  std::string piece(int32_t id) const;          // "" without one
  int32_t id_of(std::string_view piece) const;  // -1 without one
  bool is_special(int32_t id) const;            // what skip_special_tokens leaves out

  // Over everything that decides ids: the model's bytes, the added tokens and `legacy`.
  Hash128 hash() const;

 private:
  struct State;
  std::string decode_bytes(std::span<const int32_t> ids, bool skip_special_tokens) const;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<const State> state_;
};

// Whether a language model with embeddings for `vocab_size` ids can read what this tokenizer writes; added tokens behind that are no
// matter until a text has them. kInvalidArgument names `where`, both sizes and what to do.
Status check_vocabulary(const Tokenizer& tokenizer, int64_t vocab_size, const std::string& where);

// Document of `tephra tokenizer encode --json`: {"ids": [...], "pieces": [...]}.
std::string describe_encoding(const Tokenizer& tokenizer, std::string_view text, bool with_bos);

}  // namespace tephra::data
