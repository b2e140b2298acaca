#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/byte_level_bpe.h"

#include <pcre2.h>

#include <array>
#include <queue>

#include "data/utf8.h"

namespace tephra::data {
namespace {

using Json = nlohmann::json;

// The largest id, four times what the largest vocabularies have: a wrong one must not cost memory by the gigabyte.
constexpr uint64_t kLargestId = 1 << 20;

// GPT-2's expression, which the pre-tokenizer ByteLevel stands for.
constexpr const char* kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

std::string utf8_of(uint32_t c) {  // below U+0800
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

// The characters that stand for bytes in pieces: printable ones for themselves, the others from U+0100 on, in order.
const std::array<std::string, 256>& byte_characters() {
  static const auto* table = [] {
    auto* out = new std::array<std::string, 256>;
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      (*out)[b] = utf8_of(printable ? b : next++);
    }
    return out;
  }();
  return *table;
}

// "Ġthe" to " the". Characters outside the table (of added pieces) stay as they are.
std::string bytes_of(const std::string& piece) {
  static const auto* bytes = [] {
    auto* out = new std::unordered_map<std::string_view, char>;
    for (size_t b = 0; b < 256; ++b) out->emplace(byte_characters()[b], static_cast<char>(b));
    return out;
  }();
  std::string out;
  for (std::string_view rest = piece; !rest.empty();) {
    const std::string_view character = rest.substr(0, std::max<size_t>(utf8_length(rest), 1));
    auto it = bytes->find(character);
    if (it != bytes->end())
      out += it->second;
    else
      out += character;
    rest.remove_prefix(character.size());
  }
  return out;
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    out += length == 0 ? kReplacement : text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

const Json& field(const Json& object, const char* name) {
  static const Json none;
  return object.is_object() && object.contains(name) ? object[name] : none;
}

}  // namespace

struct ByteLevelBpe::Words {
  std::vector<std::string> expressions;  // one after another, each cuts what the one before left
  std::vector<pcre2_code*> codes;
  bool space_in_front = false;  // a text that does not begin with a space gets one ("add_prefix_space")

  Words() = default;
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  ~Words() {
    for (pcre2_code* code : codes) pcre2_code_free(code);
  }

  Status compile(const std::string& expression, const std::string& name) {
    int number = 0;
    PCRE2_SIZE at = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                                     // \C would cut characters in two.
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &number, &at, nullptr);
    if (code == nullptr) {
      PCRE2_UCHAR words[256] = {};
      pcre2_get_error_message(number, words, sizeof words);
      return {Code::kUnsupported, name + ": pre_tokenizer's expression is not understood at its character " +
                                      std::to_string(at) + ": " + reinterpret_cast<const char*>(words)};
    }
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without it (other processors) matching is slower and the same
    codes.push_back(code);
    return ok_status();
  }

  // Matches and what lies between them, in order; nothing is lost.
  static void cut(pcre2_code* code, std::string_view text, std::vector<std::string_view>& out) {
    pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
    size_t done = 0;
    while (done < text.size()) {
      const int found = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), done,
                                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match, nullptr);
      if (found < 0) break;
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match);
      if (ends[0] > done) out.push_back(text.substr(done, ends[0] - done));
      out.push_back(text.substr(ends[0], ends[1] - ends[0]));
      done = ends[1];
    }
    if (done < text.size()) out.push_back(text.substr(done));
    pcre2_match_data_free(match);
  }
};

ByteLevelBpe::ByteLevelBpe() : words_(std::make_unique<Words>()) {}
ByteLevelBpe::~ByteLevelBpe() = default;

Result<std::unique_ptr<ByteLevelBpe>> ByteLevelBpe::parse(const Json& file, const std::string& name) {
  std::unique_ptr<ByteLevelBpe> out(new ByteLevelBpe);
  if (!field(file, "normalizer").is_null())
    return Status(Code::kUnsupported, name + ": normalizer is not null; texts are not normalized here");
  TEPHRA_RETURN_IF_ERROR(out->read_model(field(file, "model"), name));
  TEPHRA_RETURN_IF_ERROR(out->read_words(file, name));
  return out;
}

Status ByteLevelBpe::read_model(const Json& model, const std::string& name) {
  if (field(model, "type") != "BPE" || field(model, "byte_fallback") == true)
    return {
        Code::kUnsupported,
        name + ": model is not byte-level BPE; LLaMA's own tokenizers have a tokenizer.model, which is read instead"};
  const Json &vocabulary = field(model, "vocab"), &merges = field(model, "merges");
  if (!vocabulary.is_object() || !merges.is_array())
    return {Code::kCorruption, name + ": model.vocab is not an object or model.merges not a list"};
  for (const auto& [piece, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kLargestId)
      return {Code::kCorruption, name + ": model.vocab: the id of '" + piece + "' is no number from 0 to 2^20"};
    const auto at = id.get<size_t>();
    if (pieces_.size() <= at) {
      pieces_.resize(at + 1);
      bytes_.resize(at + 1);
    }
    pieces_[at] = piece;
    bytes_[at] = bytes_of(piece);
    id_of_piece_[piece] = static_cast<int32_t>(at);
    id_of_bytes_[bytes_[at]] = static_cast<int32_t>(at);
  }
  for (size_t b = 0; b < 256; ++b)
    if (!id_of_bytes_.contains(std::string(1, static_cast<char>(b))))
      return {Code::kCorruption, name + ": model.vocab has no piece for byte " + std::to_string(b)};
  for (size_t i = 0; i < merges.size(); ++i) {
    std::string left, right;
    if (merges[i].is_string()) {
      const std::string& both = merges[i].get_ref<const std::string&>();
      const size_t space = both.find(' ');
      left = both.substr(0, space);
      right = space == std::string::npos ? "" : both.substr(space + 1);
    } else if (merges[i].is_array() && merges[i].size() == 2 && merges[i][0].is_string() && merges[i][1].is_string()) {
      left = merges[i][0].get<std::string>();
      right = merges[i][1].get<std::string>();
    }
    const int32_t a = id_of(left), b = id_of(right), whole = id_of(left + right);
    if (a < 0 || b < 0 || whole < 0)
      return {Code::kCorruption,
              name + ": model.merges[" + std::to_string(i) + "] is no pair of pieces whose union is one"};
    merges_.try_emplace(pair_of(a, b), Merge{static_cast<int32_t>(i), whole});
  }
  whole_words_ = field(model, "ignore_merges") == true;
  return ok_status();
}

Status ByteLevelBpe::read_words(const Json& file, const std::string& name) {
  const Json& outer = field(file, "pre_tokenizer");
  std::vector<const Json*> steps = {&outer};
  if (field(outer, "type") == "Sequence") {
    steps.clear();
    for (const Json& step : field(outer, "pretokenizers")) steps.push_back(&step);
  }
  bool byte_level = false;
  for (const Json* each : steps) {
    const Json& step = *each;
    if (field(step, "type") == "ByteLevel") {
      byte_level = true;
      words_->space_in_front = field(step, "add_prefix_space") == true;
      if (field(step, "use_regex") != false) TEPHRA_RETURN_IF_ERROR(words_->compile(kGpt2Words, name));
      continue;
    }
    const Json& pattern = field(field(step, "pattern"), "Regex");
    if (field(step, "type") != "Split" || !pattern.is_string() || field(step, "behavior") != "Isolated" ||
        field(step, "invert") == true)
      return {Code::kUnsupported,
              name + ": pre_tokenizer has a step that is neither ByteLevel nor an isolating Split by an expression"};
    TEPHRA_RETURN_IF_ERROR(words_->compile(pattern.get<std::string>(), name));
  }
  if (!byte_level) return {Code::kUnsupported, name + ": pre_tokenizer is not ByteLevel"};
  return ok_status();
}

void ByteLevelBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  std::string valid = valid_utf8(text);
  if (words_->space_in_front && valid.front() != ' ') valid.insert(0, 1, ' ');
  std::vector<std::string_view> words{valid}, finer;
  for (pcre2_code* code : words_->codes) {
    finer.clear();
    for (const std::string_view word : words) Words::cut(code, word, finer);
    words.swap(finer);
  }
  for (const std::string_view word : words) encode_word(word, ids);
}

void ByteLevelBpe::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (whole_words_) {
    if (auto it = id_of_bytes_.find(std::string(word)); it != id_of_bytes_.end()) {
      ids.push_back(it->second);
      return;
    }
  }
  struct Symbol {
    int32_t id, previous, next;
  };
  std::vector<Symbol> symbols;
  const auto count = static_cast<int32_t>(word.size());
  for (int32_t i = 0; i < count; ++i)
    symbols.push_back(
        {id_of_bytes_.at(std::string(1, word[static_cast<size_t>(i)])), i - 1, i + 1 < count ? i + 1 : -1});

  struct Candidate {
    int32_t rank, left, left_id, right_id, id;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  std::priority_queue<Candidate> queue;
  const auto offer = [&](int32_t left) {
    if (left < 0 || symbols[static_cast<size_t>(left)].next < 0) return;
    const int32_t a = symbols[static_cast<size_t>(left)].id;
    const int32_t b = symbols[static_cast<size_t>(symbols[static_cast<size_t>(left)].next)].id;
    if (auto it = merges_.find(pair_of(a, b)); it != merges_.end())
      queue.push({it->second.rank, left, a, b, it->second.id});
  };
  for (int32_t i = 0; i + 1 < count; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[static_cast<size_t>(best.left)];
    if (left.id != best.left_id || left.next < 0) continue;  // it was merged meanwhile
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (right.id != best.right_id) continue;
    left.id = best.id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.left;
    offer(left.previous);
    offer(best.left);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next)
    ids.push_back(symbols[static_cast<size_t>(i)].id);
}

std::string_view ByteLevelBpe::bytes(int32_t id) const {
  return id >= 0 && id < size() ? std::string_view(bytes_[static_cast<size_t>(id)]) : std::string_view();
}

std::string ByteLevelBpe::piece(int32_t id) const {
  return id >= 0 && id < size() ? pieces_[static_cast<size_t>(id)] : "";
}

int32_t ByteLevelBpe::id_of(const std::string& piece) const {
  auto it = id_of_piece_.find(piece);
  return it == id_of_piece_.end() ? -1 : it->second;
}

int32_t ByteLevelBpe::size() const { return static_cast<int32_t>(pieces_.size()); }

}  // namespace tephra::data
