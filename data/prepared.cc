#include "data/prepared.h"

#include <charconv>
#include <utility>

#include "base/env.h"
#include "base/hash.h"
#include "data/dataset_scenes.h"

namespace tephra::data {
namespace {
using Options = std::map<std::string, std::string>;

std::string option(const Options& options, const std::string& key) {
  auto it = options.find(key);
  return it == options.end() ? "" : it->second;
}

template <typename T>
Status read_number(const Options& options, const std::string& key, T* out) {
  std::string text = option(options, key);
  if (text.empty()) return ok_status();
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (error != std::errc() || end != text.data() + text.size())
    return {Code::kInvalidArgument, "dataset option " + key + ": '" + text + "' is not a whole number in range"};
  return ok_status();
}

std::string folder_for(const std::string& root, const std::string& kind, const Options& options) {
  std::string text;
  for (const auto& [key, value] : options) text += key + "=" + value + "\n";
  return root + "/" + kind + "-" + hash_text(text).hex().substr(0, 12);
}

Status make_scenes(const Options& options, const std::string& dir) {
  SceneDatasetOptions o;
  TEPHRA_RETURN_IF_ERROR(read_number(options, "seed", &o.seed));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "image_size", &o.image_size));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "train_scenes", &o.train_scenes));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "validation_questions", &o.validation_questions));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "test_questions", &o.test_questions));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "heldout_conversations", &o.heldout_conversations));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "text_questions", &o.text_questions));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "corpus_scenes", &o.corpus_scenes));
  o.out_dir = dir;
  return write_scene_dataset(o);
}

Status require_files(const Options& options, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    std::string path = option(options, key);
    if (path.empty()) return {Code::kInvalidArgument, std::string("dataset option ") + key + " is missing"};
    if (!Env::posix().exists(path)) return {Code::kNotFound, std::string("dataset option ") + key + ": there is no " + path};
  }
  return ok_status();
}

Status no_part(const std::string& kind, const std::string& name, const std::string& parts) {
  return {Code::kNotFound, "a dataset of kind " + kind + " has no part '" + name + "'; it has " + parts};
}
}  // namespace

Result<DatasetPart> PreparedDataset::part(const std::string& name) const {
  if (kind == "llava") return DatasetPart{option(options, "conversations"), option(options, "images"), ""};
  if (kind == "scenes") {
    if (name == "captions" || name == "instruct" || name == "heldout") return DatasetPart{dir + "/" + name + ".json", dir + "/images", ""};
    if (name == "corpus") return DatasetPart{"", "", dir + "/corpus.json"};
    return no_part(kind, name, "captions, instruct, heldout, corpus");
  }
  return no_part(kind, name, "none to train on");
}

Result<ScienceQaFiles> PreparedDataset::scienceqa() const {
  if (kind == "scenes")
    return ScienceQaFiles{dir + "/scienceqa/problems.json", dir + "/scienceqa/pid_splits.json", dir + "/scienceqa/images"};
  if (kind == "scienceqa") return ScienceQaFiles{option(options, "problems"), option(options, "splits"), option(options, "images")};
  return Status(Code::kInvalidArgument, "a dataset of kind " + kind + " holds no ScienceQA problems");
}

Result<std::string> PreparedDataset::questions(const std::string& split) const {
  return Status(Code::kInvalidArgument, "a dataset of kind " + kind + " holds no question file for split '" + split + "'");
}

Result<PreparedDataset> prepare_dataset(const std::string& kind, const std::map<std::string, std::string>& options,
                                        const std::string& root) {
  PreparedDataset dataset{kind, "", options};
  if (kind == "llava") {
    TEPHRA_RETURN_IF_ERROR(require_files(options, {"conversations"}));
  } else if (kind == "scienceqa") {
    TEPHRA_RETURN_IF_ERROR(require_files(options, {"problems", "splits"}));
  } else if (kind == "scenes") {
    dataset.dir = folder_for(root, kind, options);
    TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(dataset.dir));
    TEPHRA_RETURN_IF_ERROR(make_scenes(options, dataset.dir));
  } else {
    return Status(Code::kUnsupported, "no dataset kind '" + kind + "'; there are scenes, llava, scienceqa");
  }
  return dataset;
}

}  // namespace tephra::data
