#include "data/prepared.h"

#include <charconv>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/hash.h"
#include "data/dataset_easy_vqa.h"
#include "data/dataset_scenes.h"
#include "data/dataset_scienceqa.h"
#include "data/dataset_shapes.h"
#include "data/dataset_stamps.h"

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

Status make_scienceqa(const Options& options, const std::string& dir) {
  ScienceQaDatasetOptions o{option(options, "problems"), option(options, "splits"), option(options, "images"), 0, dir};
  TEPHRA_RETURN_IF_ERROR(read_number(options, "longest_prompt", &o.longest_prompt));
  return write_scienceqa_dataset(Env::posix(), o);
}

Status make_easy_vqa(const Options& options, const std::string& dir) {
  EasyVqaOptions o{option(options, "path"), 0, dir};
  TEPHRA_RETURN_IF_ERROR(read_number(options, "questions_per_sample", &o.questions_per_sample));
  return write_easy_vqa_dataset(Env::posix(), o);
}

Status make_shapes(const Options& options, const std::string& dir) {
  ShapesDatasetOptions o;
  TEPHRA_RETURN_IF_ERROR(read_number(options, "seed", &o.seed));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "image_size", &o.image_size));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "pictures", &o.pictures));
  o.out_dir = dir;
  return write_shapes_dataset(Env::posix(), o);
}

Status make_stamps(const Options& options, const std::string& dir) {
  StampDatasetOptions o;
  o.path = option(options, "path");
  TEPHRA_RETURN_IF_ERROR(read_number(options, "seed", &o.seed));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "image_size", &o.image_size));
  TEPHRA_RETURN_IF_ERROR(read_number(options, "copies", &o.copies));
  o.out_dir = dir;
  return write_stamp_dataset(Env::posix(), o);
}

Status require_files(const Options& options, const std::vector<const char*>& keys) {
  for (const char* key : keys) {
    std::string path = option(options, key);
    if (path.empty()) return {Code::kInvalidArgument, std::string("dataset option ") + key + " is missing"};
    if (!Env::posix().exists(path))
      return {Code::kNotFound, std::string("dataset option ") + key + ": there is no " + path};
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
    if (name == "captions" || name == "instruct" || name == "heldout")
      return DatasetPart{dir + "/" + name + ".json", dir + "/images", ""};
    if (name == "corpus") return DatasetPart{"", "", dir + "/corpus.json"};
    return no_part(kind, name, "captions, instruct, heldout, corpus");
  }
  if (kind == "scienceqa") {
    if (name != "train") return no_part(kind, name, "train");
    if (Env::posix().exists(dir + "/train.json"))
      return DatasetPart{dir + "/train.json", option(options, "images"), ""};
    return Status(Code::kNotFound,
                  option(options, "splits") + " and " + option(options, "problems") +
                      " hold no problems of split train or minitrain, so there is nothing to train on");
  }
  if (kind == "easy_vqa") {
    if (name != "train" && name != "captions") return no_part(kind, name, "train, captions");
    return DatasetPart{dir + "/" + name + ".json", option(options, "path"), ""};
  }
  if (kind == "shapes" || kind == "stamps") {
    if (name != "captions") return no_part(kind, name, "captions");
    return DatasetPart{dir + "/captions.json", dir + "/images", ""};
  }
  return no_part(kind, name, "none");
}

Result<ScienceQaFiles> PreparedDataset::scienceqa() const {
  if (kind == "scenes")
    return ScienceQaFiles{dir + "/scienceqa/problems.json", dir + "/scienceqa/pid_splits.json",
                          dir + "/scienceqa/images"};
  if (kind == "scienceqa")
    return ScienceQaFiles{option(options, "problems"), option(options, "splits"), option(options, "images")};
  return Status(Code::kInvalidArgument, "a dataset of kind " + kind + " holds no ScienceQA problems");
}

Result<DatasetPart> PreparedDataset::questions(const std::string& split) const {
  if (kind != "easy_vqa")
    return Status(Code::kInvalidArgument, "a dataset of kind " + kind + " holds no questions of short answers");
  if (split != "train" && split != "test")
    return Status(Code::kNotFound, "a dataset of kind " + kind + " has no split '" + split + "'; it has train, test");
  return DatasetPart{dir + "/questions-" + split + ".json", option(options, "path"), ""};
}

Result<PreparedDataset> prepare_dataset(const std::string& kind, const std::map<std::string, std::string>& options,
                                        const std::string& root) {
  struct Kind {
    std::vector<const char*> files;                                  // options that name the user's files
    Status (*make)(const Options& options, const std::string& dir);  // nullptr: those files are the dataset
  };
  static const auto* kinds = new std::map<std::string, Kind>{{"benchmark", {{"questions"}, nullptr}},
                                                             {"easy_vqa", {{"path"}, make_easy_vqa}},
                                                             {"llava", {{"conversations"}, nullptr}},
                                                             {"scenes", {{}, make_scenes}},
                                                             {"scienceqa", {{"problems", "splits"}, make_scienceqa}},
                                                             {"shapes", {{}, make_shapes}},
                                                             {"stamps", {{"path"}, make_stamps}}};
  const auto found = kinds->find(kind);
  if (found == kinds->end()) {
    std::string known;
    for (const auto& [name, unused] : *kinds) known += (known.empty() ? "" : ", ") + name;
    return Status(Code::kUnsupported, "no dataset kind '" + kind + "'; there are " + known);
  }
  TEPHRA_RETURN_IF_ERROR(require_files(options, found->second.files));
  PreparedDataset dataset{kind, "", options};
  for (const char* key : {"annotations", "images", "reference", "context"})
    if (kind == "benchmark" && !option(options, key).empty()) TEPHRA_RETURN_IF_ERROR(require_files(options, {key}));
  if (found->second.make == nullptr) return dataset;
  dataset.dir = folder_for(root, kind, options);
  TEPHRA_RETURN_IF_ERROR(found->second.make(options, dataset.dir));
  return dataset;
}

}  // namespace tephra::data
