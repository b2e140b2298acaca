// The SentencePiece model proper: text to pieces by byte-pair merges. Tokenizer adds Hugging Face's rules on top.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"

namespace tephra::data {

inline constexpr std::string_view kSpacePiece = "\xE2\x96\x81";  // U+2581, which stands for a space inside pieces

// Immutable; any thread.
class BpeModel {
 public:
  enum class Kind : uint8_t { kNormal, kUnknown, kControl, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
    uint8_t byte = 0;  // of kByte
  };

  // From the bytes of a tokenizer.model; `name` stands for it in messages. kCorruption, kUnsupported: see
  // Tokenizer::load.
  static Result<std::unique_ptr<BpeModel>> parse(std::string_view bytes, const std::string& name);

  // Appends the ids of `text` (spaces become kSpacePiece; bytes that are not UTF-8 become U+FFFD). With dummy_prefix a
  // space is put before a non-empty text. Merges by score, the leftmost of equals first, as SentencePiece does; a
  // symbol that is no piece falls back to its bytes, or to unk. O(n log n).
  void encode(std::string_view text, bool dummy_prefix, std::vector<int32_t>& ids) const;

  int32_t size() const { return static_cast<int32_t>(pieces_.size()); }
  const Piece& piece(int32_t id) const { return pieces_[id]; }
  int32_t id_of(std::string_view text) const;  // -1: none
  bool add_dummy_prefix() const { return add_dummy_prefix_; }
  int32_t unk_id() const { return unk_id_; }
  int32_t bos_id() const { return bos_id_; }
  int32_t eos_id() const { return eos_id_; }

 private:
  BpeModel() = default;
  Status check_and_index(const std::string& name);
  void append_symbol(std::string_view symbol, std::vector<int32_t>& ids) const;

  std::vector<Piece> pieces_;
  std::unordered_map<std::string_view, int32_t> normal_;  // views into pieces_, which does not change any more
  std::unordered_map<std::string_view, int32_t>
      reserved_;  // unknown, control and byte pieces: never the result of a merge
  int32_t byte_ids_[256];
  bool byte_fallback_ = false;
  bool add_dummy_prefix_ = true;
  int32_t unk_id_ = 0;
  int32_t bos_id_ = -1;
  int32_t eos_id_ = -1;
};

}  // namespace tephra::data
