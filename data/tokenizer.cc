#include "data/tokenizer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/env.h"
#include "data/bpe.h"
#include "data/byte_level_bpe.h"
#include "data/utf8.h"

namespace tephra::data {

using Json = nlohmann::json;

struct AddedToken {
  std::string text;
  int32_t id = -1;
  bool strip_left = false;   // swallows white space on its left
  bool strip_right = false;  // and on its right
};

struct Tokenizer::State {
  // One of the two.
  std::unique_ptr<BpeModel> model;           // tokenizer.model
  std::unique_ptr<ByteLevelBpe> byte_level;  // tokenizer.json
  std::map<std::string, AddedToken> added;   // by text; split off before BPE sees the rest
  std::unordered_map<int32_t, std::string> added_by_id;
  std::set<int32_t> special;
  std::vector<std::string> by_first_byte[256];  // added tokens, longest first
  bool legacy = true;
  int32_t bos = -1, eos = -1, unk = 0, pad = -1;
  int32_t vocab_size = 0;
  Hash128 hash;

  int32_t id_of(std::string_view text) const {
    auto it = added.find(std::string(text));
    if (it != added.end()) return it->second.id;
    return model ? model->id_of(text) : byte_level->id_of(std::string(text));
  }
  int32_t model_size() const { return model ? model->size() : byte_level->size(); }
  void encode_chunk(std::string_view chunk, bool dummy_prefix, std::vector<int32_t>& ids) const {
    if (model)
      model->encode(chunk, dummy_prefix, ids);
    else
      byte_level->encode(chunk, ids);
  }
};

namespace {

struct Loading {
  std::string dir;
  Json config = Json::object();
  Json special_map = Json::object();
  Json added = Json::object();
};

// An absent file is an empty object.
Result<Json> read_json(const std::string& path) {
  if (!Env::posix().exists(path)) return Json::object();
  TEPHRA_ASSIGN_OR_RETURN(std::string text, read_file(Env::posix(), path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Status(Code::kCorruption, path + " is not a JSON object");
  return json;
}

// A token is written as a string or as {"content": ...}.
std::string content_of(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string())
    return token["content"].get<std::string>();
  return "";
}

bool flag(const Json& token, const char* name) {
  return token.is_object() && token.contains(name) && token[name].is_boolean() && token[name].get<bool>();
}

std::string special_text(const Loading& files, const char* name) {
  for (const Json* json : {&files.special_map, &files.config}) {
    if (json->contains(name)) {
      if (std::string text = content_of((*json)[name]); !text.empty()) return text;
    }
  }
  return "";
}

std::vector<std::string> additional_special(const Loading& files) {
  std::vector<std::string> texts;
  for (const Json* json : {&files.special_map, &files.config}) {
    if (!json->contains("additional_special_tokens")) continue;
    const Json& list = (*json)["additional_special_tokens"];
    if (!list.is_array()) continue;
    for (const Json& token : list) texts.push_back(content_of(token));
  }
  return texts;
}

// "legacy" may be null, which transformers takes for true as well.
Result<bool> legacy_of(const Loading& files) {
  if (!files.config.contains("legacy") || files.config["legacy"].is_null()) return true;
  if (!files.config["legacy"].is_boolean()) {
    return Status(Code::kInvalidArgument, files.dir + "/tokenizer_config.json: legacy is neither true nor false");
  }
  return files.config["legacy"].get<bool>();
}

Result<std::vector<AddedToken>> added_tokens(const Loading& files) {
  std::vector<AddedToken> tokens;
  if (files.config.contains("added_tokens_decoder") && files.config["added_tokens_decoder"].is_object()) {
    for (const auto& [key, token] : files.config["added_tokens_decoder"].items()) {
      int32_t id = -1;
      if (key.empty() || key.size() > 8 || key.find_first_not_of("0123456789") != std::string::npos ||
          content_of(token).empty()) {
        return Status(Code::kInvalidArgument,
                      files.dir + "/tokenizer_config.json: added_tokens_decoder['" + key + "'] is no token");
      }
      id = std::stoi(key);
      if (flag(token, "single_word")) {
        return Status(Code::kUnsupported,
                      files.dir + "/tokenizer_config.json: added token " + key + " has single_word, which is not read");
      }
      tokens.push_back({content_of(token), id, flag(token, "lstrip"), flag(token, "rstrip")});
    }
  }
  for (const auto& [text, id] : files.added.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > 1 << 24 || text.empty()) {
      return Status(Code::kInvalidArgument,
                    files.dir + "/added_tokens.json: the id of '" + text + "' is not a number from 0 to 2^24");
    }
    tokens.push_back({text, id.get<int32_t>(), false, false});
  }
  return tokens;
}

// The added tokens of tokenizer.json.
Status read_added(const Json& file, const std::string& path, std::vector<AddedToken>& tokens,
                  std::set<int32_t>& special) {
  if (!file.contains("added_tokens") || !file["added_tokens"].is_array()) return ok_status();
  const Json& list = file["added_tokens"];
  for (size_t i = 0; i < list.size(); ++i) {
    const Json& token = list[i];
    if (content_of(token).empty() || !token.contains("id") || !token["id"].is_number_unsigned() ||
        token["id"].get<uint64_t>() > 1 << 24)
      return {Code::kCorruption, path + ": added_tokens[" + std::to_string(i) + "] is no token with a text and an id"};
    if (flag(token, "single_word"))
      return {Code::kUnsupported, path + ": added token " + content_of(token) + " has single_word, which is not read"};
    const auto id = token["id"].get<int32_t>();
    tokens.push_back({content_of(token), id, flag(token, "lstrip"), flag(token, "rstrip")});
    if (flag(token, "special")) special.insert(id);
  }
  return ok_status();
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& model_dir) {
  std::string path = model_dir + "/tokenizer.model";
  const bool byte_level = !Env::posix().exists(path);
  if (byte_level) path = model_dir + "/tokenizer.json";
  if (!Env::posix().exists(path))
    return Status(Code::kNotFound, "no tokenizer.model and no tokenizer.json in " + model_dir +
                                       "; give a folder with LLaMA's SentencePiece file, or with a byte-level BPE");
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(Env::posix(), path));
  Loading files{model_dir, {}, {}, {}};
  TEPHRA_ASSIGN_OR_RETURN(files.config, read_json(model_dir + "/tokenizer_config.json"));
  TEPHRA_ASSIGN_OR_RETURN(files.special_map, read_json(model_dir + "/special_tokens_map.json"));
  TEPHRA_ASSIGN_OR_RETURN(files.added, read_json(model_dir + "/added_tokens.json"));

  auto state = std::make_unique<State>();
  TEPHRA_ASSIGN_OR_RETURN(std::vector<AddedToken> tokens, added_tokens(files));
  int32_t bos = -1, eos = -1;  // where no file names them
  if (byte_level) {
    const Json json = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
    TEPHRA_ASSIGN_OR_RETURN(state->byte_level, ByteLevelBpe::parse(json, path));
    TEPHRA_RETURN_IF_ERROR(read_added(json, path, tokens, state->special));
    state->unk = -1;
  } else {
    TEPHRA_ASSIGN_OR_RETURN(state->model, BpeModel::parse(bytes, path));
    TEPHRA_ASSIGN_OR_RETURN(state->legacy, legacy_of(files));
    bos = state->model->bos_id();
    eos = state->model->eos_id();
  }
  for (AddedToken& token : tokens) state->added.emplace(token.text, token);

  // A special token is split off wherever it is written, whether or not a file lists it as added.
  auto special = [&](std::string text, int32_t fallback) -> int32_t {
    if (text.empty() && fallback >= 0) text = state->model->piece(fallback).text;
    int32_t id = text.empty() ? -1 : state->id_of(text);
    if (id < 0) return -1;
    state->added.emplace(text, AddedToken{text, id, false, false});
    state->special.insert(id);
    return id;
  };
  state->bos = special(special_text(files, "bos_token"), bos);
  state->eos = special(special_text(files, "eos_token"), eos);
  state->unk = special(special_text(files, "unk_token"), byte_level ? -1 : state->model->unk_id());
  state->pad = special(special_text(files, "pad_token"), -1);
  for (const std::string& text : additional_special(files)) special(text, -1);
  if (state->bos < 0 || state->eos < 0 || (state->unk < 0 && !byte_level)) {
    return Status(Code::kInvalidArgument, model_dir + ": bos_token, eos_token or unk_token names no piece of " + path);
  }

  Hasher hasher;
  hasher.update(bytes);
  hasher.update(std::string_view(state->legacy ? "\nlegacy" : "\nnew"));
  state->vocab_size = state->model_size();
  for (const auto& [text, token] : state->added) {
    state->added_by_id[token.id] = text;
    state->vocab_size = std::max(state->vocab_size, token.id + 1);
    state->by_first_byte[static_cast<uint8_t>(text[0])].push_back(text);
    hasher.update("\n" + std::to_string(token.id) + (state->special.count(token.id) ? " special " : " ") +
                  (token.strip_left ? "l" : "") + (token.strip_right ? "r" : "") + text);
  }
  for (auto& bucket : state->by_first_byte) {
    std::stable_sort(bucket.begin(), bucket.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
  }
  state->hash = hasher.digest();
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(state)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  if (text.empty()) return ids;
  const State& s = *state_;
  // legacy: every stretch between special tokens gets the model's own prefix space. New: the text as a whole gets one,
  // once.
  std::string prefixed;
  if (!s.legacy) {
    prefixed = std::string(kSpacePiece) + replace_all(text, kSpacePiece, " ");
    text = prefixed;
  }
  const bool dummy_prefix = s.model && s.legacy && s.model->add_dummy_prefix();
  bool strip_next = false;
  size_t start = 0;
  auto flush = [&](size_t end, bool strip_tail) {
    std::string_view chunk = text.substr(start, end - start);
    if (strip_next) chunk = strip_left(chunk);
    if (strip_tail) chunk = strip_right(chunk);
    s.encode_chunk(chunk, dummy_prefix, ids);
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* found = nullptr;
    for (const std::string& candidate : s.by_first_byte[static_cast<uint8_t>(text[at])]) {
      if (text.substr(at, candidate.size()) == candidate) {
        found = &s.added.at(candidate);
        break;
      }
    }
    if (found == nullptr) {
      ++at;
      continue;
    }
    flush(at, found->strip_left);
    // New: the prefix put before a text that begins with a special token is taken off again.
    const bool lone_prefix = s.model && !s.legacy && ids.size() == 1 && ids[0] == s.model->id_of(kSpacePiece);
    if (lone_prefix && s.special.count(found->id)) ids.clear();
    ids.push_back(found->id);
    at = start = at + found->text.size();
    strip_next = found->strip_right;
  }
  flush(text.size(), false);
  return ids;
}

std::vector<int32_t> Tokenizer::encode_with_bos(std::string_view text) const {
  std::vector<int32_t> ids = encode(text);
  ids.insert(ids.begin(), state_->bos);
  return ids;
}

namespace {

// SentencePiece's decoder over one stretch without special tokens.
class StretchDecoder {
 public:
  // strip_first: the model has a dummy prefix, so the space of a piece at the very start is dropped.
  explicit StretchDecoder(bool strip_first) : strip_first_(strip_first) {}

  void add_byte(uint8_t byte) { bytes_.push_back(static_cast<char>(byte)); }

  void add_piece(std::string_view piece) {
    flush_bytes();
    if (strip_first_ && text_.empty() && !dropped_ && piece.starts_with(kSpacePiece)) {
      piece.remove_prefix(kSpacePiece.size());
      dropped_ = true;
    }
    text_ += replace_all(piece, kSpacePiece, " ");
  }

  // The text so far; empty again afterwards.
  std::string take() {
    flush_bytes();
    dropped_ = false;
    return std::exchange(text_, {});
  }

 private:
  void flush_bytes() {
    std::string_view rest = bytes_;
    while (!rest.empty()) {
      size_t length = utf8_length(rest);
      text_ += length == 0 ? kReplacement : rest.substr(0, length);
      rest.remove_prefix(std::max<size_t>(length, 1));
    }
    bytes_.clear();
  }

  bool strip_first_;
  bool dropped_ = false;
  std::string text_;
  std::string bytes_;
};

}  // namespace

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  const State& s = *state_;
  if (s.byte_level) return decode_bytes(ids, skip_special_tokens);
  StretchDecoder stretch(s.legacy && s.model->add_dummy_prefix());
  std::string out;
  bool first = true;  // of what transformers hands to convert_tokens_to_string: the first piece loses its space
  bool previous_special = false;
  for (int32_t id : ids) {
    const bool is_piece = id >= 0 && id < s.model->size();
    auto added = s.added_by_id.find(id);
    if (!is_piece && added == s.added_by_id.end()) continue;
    if (s.special.count(id)) {
      if (skip_special_tokens) continue;
      if (is_piece) {
        if (!previous_special && !first && s.legacy) out += " ";
        out += stretch.take() + s.model->piece(id).text;
        first = false;
        previous_special = true;
        continue;
      }
    }
    if (!is_piece) {  // past the model's vocabulary: stands by itself, and a new string begins after it
      out += stretch.take() + added->second;
      first = true;
      previous_special = false;
      continue;
    }
    const BpeModel::Piece& piece = s.model->piece(id);
    if (piece.kind == BpeModel::Kind::kByte) {
      stretch.add_byte(piece.byte);
    } else {
      std::string_view text = piece.text;
      if (first && text.starts_with(kSpacePiece)) text.remove_prefix(kSpacePiece.size());
      stretch.add_piece(text);
    }
    first = false;
    previous_special = false;
  }
  return out + stretch.take();
}

// As the decoder ByteLevel of Hugging Face's tokenizers: bytes are joined first, and what is no UTF-8 then becomes U+FFFD, one for each
// longest beginning of a character.
std::string Tokenizer::decode_bytes(std::span<const int32_t> ids, bool skip_special_tokens) const {
  const State& s = *state_;
  std::string bytes;
  for (const int32_t id : ids) {
    if (skip_special_tokens && s.special.count(id)) continue;
    const auto added = s.added_by_id.find(id);
    bytes += added != s.added_by_id.end() ? std::string_view(added->second) : s.byte_level->bytes(id);
  }
  return replace_invalid_utf8(bytes);
}

int32_t Tokenizer::bos_id() const { return state_->bos; }
int32_t Tokenizer::eos_id() const { return state_->eos; }
int32_t Tokenizer::unk_id() const { return state_->unk; }
int32_t Tokenizer::pad_id() const { return state_->pad; }
bool Tokenizer::legacy() const { return state_->legacy; }
int32_t Tokenizer::vocab_size() const { return state_->vocab_size; }
int32_t Tokenizer::model_size() const { return state_->model_size(); }
int32_t Tokenizer::id_of(std::string_view piece) const { return state_->id_of(piece); }
bool Tokenizer::is_special(int32_t id) const { return state_->special.count(id) > 0; }
Hash128 Tokenizer::hash() const { return state_->hash; }

std::string Tokenizer::piece(int32_t id) const {
  if (auto it = state_->added_by_id.find(id); it != state_->added_by_id.end()) return it->second;
  if (state_->byte_level) return state_->byte_level->piece(id);
  return id >= 0 && id < state_->model->size() ? state_->model->piece(id).text : "";
}

Status check_vocabulary(const Tokenizer& tokenizer, int64_t vocab_size, const std::string& where) {
  if (tokenizer.model_size() <= vocab_size) return ok_status();
  return {Code::kInvalidArgument, where + ": tokenizer.model has " + std::to_string(tokenizer.model_size()) +
                                      " pieces and the language model's vocabulary " + std::to_string(vocab_size) +
                                      "; use the tokenizer that belongs to the model"};
}

std::string describe_encoding(const Tokenizer& tokenizer, std::string_view text, bool with_bos) {
  std::vector<int32_t> ids = with_bos ? tokenizer.encode_with_bos(text) : tokenizer.encode(text);
  Json pieces = Json::array();
  for (int32_t id : ids) pieces.push_back(tokenizer.piece(id));
  return Json{{"ids", ids}, {"pieces", pieces}}.dump();
}

}  // namespace tephra::data
