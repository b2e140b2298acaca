#include "recipes/schema.h"

#include <algorithm>
#include <cstdio>
#include <type_traits>
#include <utility>

#include "recipes/number_text.h"

namespace tephra::recipes {
namespace {

struct DatasetKind {
  const char* name;
  std::vector<DatasetOption> options;
  std::vector<std::string> parts;
  std::vector<std::string> splits;
};

using Type = DatasetOption::Type;

// What data/prepared.h makes of each kind.
const std::vector<DatasetKind>& kinds() {
  static const auto* table = new std::vector<DatasetKind>{
      {"scenes",
       {{.name = "seed", .type = Type::kInteger, .fallback = "1", .about = "key of the pictures"},
        {.name = "image_size",
         .type = Type::kInteger,
         .fallback = "48",
         .low = 16,
         .high = 1024,
         .about = "pixels of a side, even"},
        {.name = "train_scenes",
         .type = Type::kInteger,
         .fallback = "4000",
         .low = 1,
         .high = 1e6,
         .about = "pictures to learn from"},
        {.name = "validation_questions",
         .type = Type::kInteger,
         .fallback = "96",
         .high = 1e6,
         .about = "questions of split val"},
        {.name = "test_questions",
         .type = Type::kInteger,
         .fallback = "384",
         .high = 1e6,
         .about = "questions of split test"},
        {.name = "heldout_conversations",
         .type = Type::kInteger,
         .fallback = "96",
         .high = 1e6,
         .about = "samples of part heldout"},
        {.name = "text_questions",
         .type = Type::kInteger,
         .fallback = "96",
         .high = 1e6,
         .about = "further test questions whose scene is told, not shown"},
        {.name = "corpus_scenes",
         .type = Type::kInteger,
         .fallback = "0",
         .high = 1e7,
         .about = "scenes told in words, for part corpus"}},
       {"captions", "instruct", "heldout", "corpus"},
       {"train", "val", "test"}},
      {"llava",
       {{.name = "conversations",
         .type = Type::kPath,
         .required = true,
         .about = "LLaVA's conversation JSON, .jsonl of the same, or a folder of WebDataset shards"},
        {.name = "images", .type = Type::kPath, .about = "folder that the pictures' names are in"}},
       {""},
       {}},
      {"scienceqa",
       {{.name = "problems", .type = Type::kPath, .required = true, .about = "problems.json"},
        {.name = "splits", .type = Type::kPath, .required = true, .about = "pid_splits.json"},
        {.name = "images", .type = Type::kPath, .about = "folder of <split>/<pid>/image.png"},
        {.name = "longest_prompt",
         .type = Type::kInteger,
         .fallback = "0",
         .high = 1e9,
         .about = "bytes of the longest question of part train, longer ones are left out; 0: none is"}},
       {"train"},
       {"train", "val", "test", "minitrain", "minival", "minitest"}},
      {"benchmark",
       {{.name = "questions",
         .type = Type::kPath,
         .required = true,
         .about = "the bench's questions as published: a file, of pope and mme a folder"},
        {.name = "annotations", .type = Type::kPath, .about = "people's answers (vqav2)"},
        {.name = "images", .type = Type::kPath, .about = "folder that the pictures' names are in"},
        {.name = "reference", .type = Type::kPath, .about = "the reference's answers (llava_bench)"},
        {.name = "context", .type = Type::kPath, .about = "what the pictures show, in words (llava_bench)"}},
       {},
       {}},
      {"easy_vqa",
       {{.name = "path", .type = Type::kPath, .required = true, .about = "the easy-vqa package's data folder"},
        {.name = "questions_per_sample",
         .type = Type::kInteger,
         .fallback = "0",
         .high = 1000,
         .about = "most questions in one sample of part train, a picture with more gives several; 0: all"}},
       {"train", "captions"},
       {"train", "test"}},
      {"shapes",
       {{.name = "seed", .type = Type::kInteger, .fallback = "1", .about = "key of what is drawn"},
        {.name = "image_size",
         .type = Type::kInteger,
         .fallback = "64",
         .low = 16,
         .high = 1024,
         .about = "pixels of a side"},
        {.name = "pictures", .type = Type::kInteger, .fallback = "20000", .low = 1, .high = 1e6, .about = "how many"}},
       {"captions"},
       {}},
      {"stamps",
       {{.name = "path", .type = Type::kPath, .required = true, .about = "Tux Paint's stamps folder"},
        {.name = "seed", .type = Type::kInteger, .fallback = "1", .about = "key of places, sizes and backgrounds"},
        {.name = "image_size",
         .type = Type::kInteger,
         .fallback = "64",
         .low = 16,
         .high = 1024,
         .about = "pixels of a side"},
        {.name = "copies",
         .type = Type::kInteger,
         .fallback = "4",
         .low = 1,
         .high = 1000,
         .about = "pictures of each stamp, differently placed"}},
       {"captions"},
       {}},
  };
  return *table;
}

const DatasetKind* find_kind(const std::string& name) {
  for (const auto& kind : kinds())
    if (kind.name == name) return &kind;
  return nullptr;
}

std::string default_of(const std::string& text) { return text.empty() ? "none" : text; }
std::string default_of(bool value) { return value ? "true" : "false"; }
std::string default_of(int64_t value) { return std::to_string(value); }
std::string default_of(double value) { return number_text(value); }
template <class T>
std::string default_of(const std::vector<T>& values) {
  std::string out = "[";
  for (const T& value : values) out += (out.size() > 1 ? ", " : "") + default_of(value);
  return out + "]";
}

template <class T>
std::string type_of(const Field& field) {
  if (field.path) return "path";
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, int64_t>) return "integer";
  if constexpr (std::is_same_v<T, double>) return "number";
  if constexpr (std::is_same_v<T, std::vector<double>>) return "list of numbers";
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return "list of texts";
  return "text";
}

class Rows {
 public:
  template <class T>
  void field(const char* name, T& member, const Field& field) {
    std::string about = field.about;
    if (!field.allowed.empty()) {
      about += ": ";
      for (const auto& value : field.allowed)
        about += (&value == &field.allowed.front() ? "" : ", ") + ("`" + value + "`");
    }
    const std::string fallback = field.required            ? "required"
                                 : field.absent != nullptr ? field.absent
                                                           : default_of(member);
    rows.push_back({prefix + name, type_of<T>(field), fallback, field.unit, about});
  }
  template <class S>
  void group(const char* name, S& member, const char*) {
    nested(prefix + name + ".", member);
  }
  template <class S>
  void group(const char* name, std::optional<S>&, const char*) {
    S member;
    nested(prefix + name + ".", member);
  }
  template <class S>
  void list(const char* name, std::vector<S>&, const char*) {
    S element;
    nested(prefix + name + "[].", element);
  }
  template <class S>
  void named(const char* name, std::vector<S>&, const char*) {
    S element;
    nested(prefix + name + ".<name>.", element);
  }
  void options(const std::string&, std::map<std::string, std::string>&) {
    for (const auto& kind : kinds())
      for (const auto& option : kind.options)
        rows.push_back({prefix + option.name + " (" + kind.name + ")",
                        option.type == Type::kPath      ? "path"
                        : option.type == Type::kInteger ? "integer"
                                                        : "text",
                        option.required ? "required" : default_of(std::string(option.fallback)), "", option.about});
  }

  std::vector<FieldRow> rows;
  std::string prefix;

 private:
  template <class S>
  void nested(const std::string& inner, S& member) {
    const std::string outer = std::exchange(prefix, inner);
    describe(*this, member);
    prefix = outer;
  }
};

}  // namespace

const std::vector<std::string>& dataset_kinds() {
  static const auto* names = [] {
    auto* out = new std::vector<std::string>;
    for (const auto& kind : kinds()) out->push_back(kind.name);
    return out;
  }();
  return *names;
}

const std::vector<DatasetOption>& dataset_options(const std::string& kind) {
  static const std::vector<DatasetOption> none;
  const DatasetKind* found = find_kind(kind);
  return found == nullptr ? none : found->options;
}

const std::vector<std::string>& dataset_parts(const std::string& kind) {
  static const std::vector<std::string> none;
  const DatasetKind* found = find_kind(kind);
  return found == nullptr ? none : found->parts;
}

const std::vector<std::string>& dataset_splits(const std::string& kind) {
  static const std::vector<std::string> none;
  const DatasetKind* found = find_kind(kind);
  return found == nullptr ? none : found->splits;
}

const std::vector<std::string>& template_names() {
  static const std::vector<std::string> names = {"plain",        "v0",       "v0_mmtag", "llava_v0", "v1",
                                                 "vicuna_v1",    "v1_mmtag", "llava_v1", "llama_2",  "llava_llama_2",
                                                 "llava_llama_3"};
  return names;
}

const std::vector<std::string>& lora_target_names() {
  static const std::vector<std::string> names = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                 "gate_proj", "up_proj", "down_proj"};
  return names;
}

std::vector<FieldRow> field_rows() {
  Rows rows;
  Recipe recipe;
  describe(rows, recipe);
  return rows.rows;
}

std::string markdown_reference() {
  std::string out = "| field | type | default | unit | meaning |\n|---|---|---|---|---|\n";
  for (const auto& row : field_rows())
    out += "| `" + row.path + "` | " + row.type + " | " + row.default_value + " | " + row.unit + " | " + row.about +
           " |\n";
  return out;
}

}  // namespace tephra::recipes
