#include "data/bpe.h"

#include <algorithm>
#include <queue>

#include "data/sentencepiece_model.pb.h"
#include "data/utf8.h"

namespace tephra::data {
namespace {

enum PieceType { kTypeNormal = 1, kTypeUnknown, kTypeControl, kTypeUserDefined, kTypeUnused, kTypeByte };

// "<0x0A>" to 10; -1 for anything else.
int parse_byte_piece(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  int value = 0;
  for (char c : text.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'A' && c <= 'F') {
      value = value * 16 + (c - 'A' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

Status check_specs(const ::tephra::data::v1::SentencePieceModel& model, const std::string& name) {
  auto refuse = [&](const std::string& what) {
    return Status(Code::kUnsupported,
                  name + ": " + what + "; only LLaMA's kind of tokenizer (BPE, identity normalizer) is read");
  };
  const auto& trainer = model.trainer_spec();
  const auto& normalizer = model.normalizer_spec();
  if (trainer.model_type() != 2) {
    return refuse("model type " + std::to_string(trainer.model_type()) + " is not BPE (2)");
  }
  if (trainer.treat_whitespace_as_suffix()) return refuse("white space as a suffix");
  if (!normalizer.precompiled_charsmap().empty())
    return refuse("normalizer '" + normalizer.name() + "' has a character map");
  if (normalizer.remove_extra_whitespaces()) return refuse("the normalizer removes extra white space");
  if (!normalizer.escape_whitespaces()) return refuse("the normalizer does not escape white space");
  return ok_status();
}

// A symbol while merging: a stretch of the text, linked to its living neighbours.
struct Symbol {
  uint32_t start;
  uint32_t length;  // 0: merged into its left neighbour
  int32_t previous;
  int32_t next;
};

struct Merge {
  float score;
  int32_t left;
  int32_t right;
  uint32_t length;  // of both together when the entry was made: a later merge of either makes the entry stale
};

struct LowerPriority {
  bool operator()(const Merge& a, const Merge& b) const {
    return a.score < b.score || (a.score == b.score && a.left > b.left);
  }
};

std::string normalize(std::string_view text, bool dummy_prefix) {
  std::string out;
  out.reserve(text.size() + text.size() / 2 + 4);
  if (dummy_prefix && !text.empty()) out += kSpacePiece;
  while (!text.empty()) {
    size_t length = utf8_length(text);
    if (length == 0) {
      out += kReplacement;
    } else if (text[0] == ' ') {
      out += kSpacePiece;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<BpeModel>> BpeModel::parse(std::string_view bytes, const std::string& name) {
  ::tephra::data::v1::SentencePieceModel message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) || message.pieces_size() == 0) {
    return Status(Code::kCorruption, name + " is not a SentencePiece model, or is damaged; copy it again");
  }
  TEPHRA_RETURN_IF_ERROR(check_specs(message, name));
  std::unique_ptr<BpeModel> model(new BpeModel());
  for (const auto& piece : message.pieces()) {
    Piece p{piece.piece(), piece.score(), Kind::kNormal, 0};
    switch (piece.type()) {
      case kTypeNormal: break;
      case kTypeUnknown: p.kind = Kind::kUnknown; break;
      case kTypeControl: p.kind = Kind::kControl; break;
      case kTypeByte: {
        int byte = parse_byte_piece(p.text);
        if (byte < 0)
          return Status(Code::kCorruption, name + ": byte piece '" + p.text + "' is not of the form <0x0A>");
        p.kind = Kind::kByte;
        p.byte = static_cast<uint8_t>(byte);
        break;
      }
      default:
        return Status(Code::kUnsupported, name + ": piece '" + p.text + "' is of type " + std::to_string(piece.type()) +
                                              " (user-defined or unused), which is not read");
    }
    model->pieces_.push_back(std::move(p));
  }
  const auto& trainer = message.trainer_spec();
  model->byte_fallback_ = trainer.byte_fallback();
  model->add_dummy_prefix_ = message.normalizer_spec().add_dummy_prefix();
  model->unk_id_ = trainer.unk_id();
  model->bos_id_ = trainer.bos_id();
  model->eos_id_ = trainer.eos_id();
  TEPHRA_RETURN_IF_ERROR(model->check_and_index(name));
  return model;
}

Status BpeModel::check_and_index(const std::string& name) {
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  normal_.reserve(pieces_.size());
  for (int32_t id = 0; id < size(); ++id) {
    const Piece& p = pieces_[id];
    auto& index = p.kind == Kind::kNormal ? normal_ : reserved_;
    if (p.text.empty() || !index.emplace(p.text, id).second) {
      return Status(Code::kCorruption,
                    name + ": piece " + std::to_string(id) + " ('" + p.text + "') is empty or a repetition");
    }
    if (p.kind == Kind::kByte) byte_ids_[p.byte] = id;
  }
  if (unk_id_ < 0 || unk_id_ >= size() || pieces_[unk_id_].kind != Kind::kUnknown) {
    return Status(Code::kCorruption, name + ": unk_id " + std::to_string(unk_id_) + " is not the unknown piece");
  }
  for (int32_t* id : {&bos_id_, &eos_id_}) {
    if (*id >= size())
      return Status(Code::kCorruption, name + ": BOS or EOS id " + std::to_string(*id) + " is past the vocabulary");
  }
  if (byte_fallback_ && std::find(std::begin(byte_ids_), std::end(byte_ids_), -1) != std::end(byte_ids_)) {
    return Status(Code::kCorruption, name + ": byte fallback is on, but not all 256 byte pieces are there");
  }
  return ok_status();
}

int32_t BpeModel::id_of(std::string_view text) const {
  if (auto it = reserved_.find(text); it != reserved_.end()) return it->second;
  auto it = normal_.find(text);
  return it == normal_.end() ? -1 : it->second;
}

void BpeModel::append_symbol(std::string_view symbol, std::vector<int32_t>& ids) const {
  if (int32_t id = id_of(symbol); id >= 0) {
    ids.push_back(id);
  } else if (byte_fallback_) {
    for (char c : symbol) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
  } else if (ids.empty() || ids.back() != unk_id_) {
    ids.push_back(unk_id_);  // neighbouring unknown symbols are one token
  }
}

void BpeModel::encode(std::string_view text, bool dummy_prefix, std::vector<int32_t>& ids) const {
  const std::string normalized = normalize(text, dummy_prefix);
  if (normalized.empty()) return;
  std::vector<Symbol> symbols;
  symbols.reserve(normalized.size());
  for (uint32_t at = 0; at < normalized.size();) {
    uint32_t length = static_cast<uint32_t>(utf8_length(std::string_view(normalized).substr(at)));
    int32_t self = static_cast<int32_t>(symbols.size());
    symbols.push_back({at, length, self - 1, self + 1});
    at += length;
  }
  symbols.back().next = -1;

  std::priority_queue<Merge, std::vector<Merge>, LowerPriority> queue;
  auto offer = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    uint32_t length = symbols[left].length + symbols[right].length;
    auto it = normal_.find(std::string_view(normalized).substr(symbols[left].start, length));
    if (it != normal_.end()) queue.push({pieces_[it->second].score, left, right, length});
  };
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) offer(i, i + 1);
  while (!queue.empty()) {
    Merge merge = queue.top();
    queue.pop();
    Symbol& left = symbols[merge.left];
    Symbol& right = symbols[merge.right];
    if (left.length == 0 || right.length == 0 || left.length + right.length != merge.length) continue;
    left.length = merge.length;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[left.next].previous = merge.left;
    offer(left.previous, merge.left);
    offer(merge.left, left.next);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) {
    append_symbol(std::string_view(normalized).substr(symbols[i].start, symbols[i].length), ids);
  }
}

}  // namespace tephra::data
