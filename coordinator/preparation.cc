#include "coordinator/preparation.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <thread>
#include <utility>

#include "base/diagnostic.h"
#include "base/env.h"
#include "base/hash.h"
#include "coordinator/admission.h"
#include "coordinator/fork.h"
#include "coordinator/planner.h"
#include "data/tokenizer.h"
#include "data/validate.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "sharding/plan/checkpoints.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kDiagnosticsShown = 20;
// What a rank or an export reads from a model's folder beside the weights.
constexpr const char* kKeptFiles[] = {
    "config.json",    "generation_config.json", "preprocessor_config.json", "tokenizer.model",
    "tokenizer.json", "tokenizer_config.json",  "special_tokens_map.json",  "added_tokens.json"};

Status from_diagnostics(const std::vector<Diagnostic>& diagnostics, uint64_t total) {
  std::vector<Diagnostic> shown(diagnostics.begin(),
                                diagnostics.begin() + std::min(diagnostics.size(), kDiagnosticsShown));
  std::string text = to_string(shown);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (total > shown.size()) text += "\n... and " + std::to_string(total - shown.size()) + " more";
  return {Code::kInvalidArgument, text};
}

// Path, size and time of a file: changes when the file does. Empty when there is none.
std::string fingerprint(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "";
  return path + ":" + std::to_string(info.st_size) + ":" + std::to_string(info.st_mtim.tv_sec) + "." +
         std::to_string(info.st_mtim.tv_nsec) + ";";
}

// The files of conversations: one, or the shards of a folder.
std::vector<std::string> data_files(const std::string& path) {
  const Result<std::vector<std::string>> names = Env::posix().list(path);
  if (!names.ok()) return {path};
  std::vector<std::string> files;
  for (const std::string& name : *names)
    if (name.ends_with(".tar")) files.push_back(path + "/" + name);
  return files;
}

bool is_weights(const std::string& name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
}

// Fingerprints of a folder's weight files; empty when it has none.
Result<std::string> weights_fingerprint(const std::string& folder) {
  if (folder.empty()) return std::string();
  if (folder.ends_with(".safetensors")) return fingerprint(folder);
  Result<std::vector<std::string>> names = Env::posix().list(folder);
  if (!names.ok()) return names.status().with_context("model folder " + folder);
  std::string prints;
  for (const std::string& name : *names)
    if (is_weights(name)) prints += fingerprint(folder + "/" + name);
  return prints;
}

// Bytes and length, so that files one after another are told from one that is both.
Status hash_file(const std::string& path, Hasher* hasher) {
  if (path.empty()) return ok_status();
  TEPHRA_ASSIGN_OR_RETURN(const auto file, Env::posix().open(path));
  std::vector<std::byte> block(1 << 20);
  for (uint64_t at = 0; at < file->size_bytes(); at += block.size()) {
    const auto bytes = std::span(block).first(std::min<uint64_t>(block.size(), file->size_bytes() - at));
    TEPHRA_RETURN_IF_ERROR(file->read_at(at, bytes));
    hasher->update(bytes);
  }
  hasher->update(";" + std::to_string(file->size_bytes()) + ";");
  return ok_status();
}

class Preparation {
 public:
  Preparation(const recipes::Recipe& recipe, const PreparationContext& context) : recipe_(recipe), context_(context) {}

  Result<PreparedJob> run() {
    TEPHRA_RETURN_IF_ERROR(keep_model_files());
    TEPHRA_RETURN_IF_ERROR(load_configs());
    TEPHRA_RETURN_IF_ERROR(make_datasets());
    TEPHRA_RETURN_IF_ERROR(check_data());
    TEPHRA_RETURN_IF_ERROR(check_memory(recipe_, context_.machine_bytes, longest_));
    TEPHRA_RETURN_IF_ERROR(check_disk());
    TEPHRA_RETURN_IF_ERROR(import_base());
    out_.handover["base"] = out_.base_checkpoint;
    if (recipe_.fork) {
      TEPHRA_RETURN_IF_ERROR(step("starting from checkpoint " + recipe_.fork->checkpoint));
      TEPHRA_RETURN_IF_ERROR(start_from_fork(recipe_, *context_.store, samples_, &out_));
    }
    return std::move(out_);
  }

  Result<storage::Manifest> import() {
    TEPHRA_RETURN_IF_ERROR(keep_model_files());
    TEPHRA_RETURN_IF_ERROR(load_configs());
    TEPHRA_RETURN_IF_ERROR(import_base());
    return context_.store->get(out_.base_checkpoint);
  }

 private:
  Status step(const std::string& line) {
    if (context_.cancelled != nullptr && *context_.cancelled) return {Code::kCancelled, "cancelled while preparing"};
    if (context_.report) context_.report(line);
    return ok_status();
  }

  bool has_stage(const std::string& kind, bool from_base_only) const {
    return std::any_of(recipe_.stages.begin(), recipe_.stages.end(), [&](const recipes::StageRecipe& stage) {
      return stage.kind == kind && (!from_base_only || stage.init == "base");
    });
  }

  std::map<std::string, std::string> model_folders() const {
    std::map<std::string, std::string> folders;
    if (!recipe_.model.llava.empty()) folders["llava"] = recipe_.model.llava;
    if (!recipe_.model.vision.empty()) folders["vision"] = recipe_.model.vision;
    if (!recipe_.model.language.empty()) folders["language"] = recipe_.model.language;
    return folders;
  }

  // Copies the small files into STORE/models/HASH, named by their contents, so that equal models share a folder.
  Status keep_model_files() {
    TEPHRA_RETURN_IF_ERROR(step("reading the model's configuration"));
    Env& env = Env::posix();
    std::map<std::string, std::string> files;
    for (const auto& [part, folder] : model_folders()) {
      if (!env.exists(folder))
        return {Code::kInvalidArgument,
                "model." + part + ": there is no folder " + folder + "; give the path of a Hugging Face layout folder"};
      for (const char* name : kKeptFiles) {
        const std::string path = folder + "/" + name;
        if (!env.exists(path)) continue;
        TEPHRA_ASSIGN_OR_RETURN(files[part + "/" + name], read_file(env, path));
      }
    }
    Hasher hasher;
    for (const auto& [name, bytes] : files) {
      hasher.update(name + ":" + std::to_string(bytes.size()) + "\n");
      hasher.update(std::string_view(bytes));
    }
    const std::string id = hasher.digest().hex().substr(0, 16);
    out_.handover["model_files"] = id;  // where an export finds them: STORE/models/ID
    out_.model_dir = context_.store_dir + "/models/" + id;
    for (const auto& [part, folder] : model_folders())
      TEPHRA_RETURN_IF_ERROR(env.make_directories(out_.model_dir + "/" + part));
    for (const auto& [name, bytes] : files)
      if (!env.exists(out_.model_dir + "/" + name))
        TEPHRA_RETURN_IF_ERROR(write_file_atomic(env, out_.model_dir + "/" + name, bytes));
    return ok_status();
  }

  model::ModelPaths paths() const {
    return {recipe_.model.llava, recipe_.model.vision, recipe_.model.connector.init, recipe_.model.language};
  }

  Status load_configs() {
    const auto& model = recipe_.model;
    if (has_stage("train", false)) {
      model::PartsOptions options;
      if (model.llava.empty()) {
        options.connector_kind = model.connector.kind;
        options.vision_layer = static_cast<int>(model.vision_layer);
      }
      TEPHRA_ASSIGN_OR_RETURN(config_, model::load_model_config(paths(), options));
      image_tokens_ = static_cast<int>(config_.tokens_per_image());
      out_.handover["connector"] = config_.connector.kind;
      out_.handover["vision_layer"] = std::to_string(config_.vision_layer);
    }
    const std::string vision = out_.model_dir + (model.llava.empty() ? "/vision" : "/llava") + "/config.json";
    if (Env::posix().exists(vision)) {
      TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), vision));
      out_.handover["vision_config"] = hash_text(text).hex();
    }
    const std::string language = model.llava.empty() ? model.language : model.llava;
    if (!language.empty() &&
        (Env::posix().exists(language + "/tokenizer.model") || Env::posix().exists(language + "/tokenizer.json"))) {
      TEPHRA_ASSIGN_OR_RETURN(tokenizer_, data::Tokenizer::load(language));
      if (has_stage("train", false))
        TEPHRA_RETURN_IF_ERROR(data::check_vocabulary(*tokenizer_, config_.text.vocab_size, language));
      out_.handover["tokenizer"] = tokenizer_->hash().hex();
    }
    return ok_status();
  }

  Status make_datasets() {
    for (const recipes::DatasetRecipe& dataset : recipe_.datasets) {
      TEPHRA_RETURN_IF_ERROR(step("dataset " + dataset.name + " (" + dataset.kind + ")"));
      Result<data::PreparedDataset> made =
          data::prepare_dataset(dataset.kind, dataset.options, context_.store_dir + "/data");
      if (!made.ok()) return made.status().with_context("dataset " + dataset.name);
      out_.datasets[dataset.name] = std::move(made).value();
    }
    return ok_status();
  }

  Status check_data() {
    for (const recipes::StageRecipe& stage : recipe_.stages) {
      Hasher hasher;
      for (const recipes::DataUse& use : stage.data) {
        const auto found = out_.datasets.find(use.dataset);
        if (found == out_.datasets.end())
          return {Code::kInvalidArgument,
                  "stage " + stage.name + " trains on dataset '" + use.dataset + "', which the recipe lacks"};
        TEPHRA_RETURN_IF_ERROR(
            step("checking " + use.dataset + (use.part.empty() ? "" : "." + use.part) + " for stage " + stage.name));
        Result<data::DatasetPart> part = found->second.part(use.part);
        if (!part.ok()) return part.status().with_context("stage " + stage.name + ", dataset " + use.dataset);
        TEPHRA_RETURN_IF_ERROR(check_part(stage, *part));
        for (const std::string& file : data_files(part->text.empty() ? part->conversations : part->text))
          TEPHRA_RETURN_IF_ERROR(hash_file(file, &hasher));
      }
      out_.data_hashes[stage.name] = hasher.digest().hex();
    }
    return ok_status();
  }

  Status check_part(const recipes::StageRecipe& stage, const data::DatasetPart& part) {
    if (!part.text.empty()) {
      return Env::posix().exists(part.text)
                 ? ok_status()
                 : Status(Code::kInvalidArgument, "stage " + stage.name + ": no file " + part.text);
    }
    if (stage.kind == "language_model" || tokenizer_ == nullptr) return ok_status();
    data::ValidateOptions options;
    options.conversations_path = part.conversations;
    options.image_root = part.images;
    options.template_name = stage.template_name;
    options.max_length = static_cast<int>(stage.max_length);
    options.image_tokens = image_tokens_;
    options.threads = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 8u));
    // What was checked before with the same file and the same questions is not checked again: a large dataset takes
    // minutes.
    std::string prints;
    for (const std::string& file : data_files(part.conversations)) prints += fingerprint(file);
    const std::string key = prints + part.images + ";" + stage.template_name + ";" + std::to_string(stage.max_length) +
                            ";" + std::to_string(image_tokens_) + ";" + tokenizer_->hash().hex();
    const std::string marker = context_.store_dir + "/data/checked/" + hash_text(key).hex();
    Env& env = Env::posix();
    if (env.exists(marker)) {
      TEPHRA_ASSIGN_OR_RETURN(const std::string count, read_file(env, marker));
      char* end = nullptr;
      const uint64_t samples = std::strtoull(count.c_str(), &end, 10), longest = std::strtoull(end, nullptr, 10);
      if (longest > 0) {
        note_checked(stage, samples, longest);
        return ok_status();
      }
    }
    TEPHRA_ASSIGN_OR_RETURN(const data::ValidationReport report, data::validate_dataset(options, *tokenizer_));
    if (!report.ok()) return from_diagnostics(report.errors, report.errors_total);
    note_checked(stage, report.samples, report.longest_tokens);
    TEPHRA_RETURN_IF_ERROR(env.make_directories(context_.store_dir + "/data/checked"));
    return write_file_atomic(env, marker,
                             std::to_string(report.samples) + " " + std::to_string(report.longest_tokens) + "\n");
  }

  // One of the stage's datasets.
  void note_checked(const recipes::StageRecipe& stage, uint64_t samples, uint64_t longest) {
    samples_[stage.name] += samples;
    longest_[stage.name] = std::max(longest_[stage.name], std::min(stage.max_length, static_cast<int64_t>(longest)));
  }

  // The most bytes that the job's checkpoints take at one time: parameters and both moments of what each stage trains, float32.
  double checkpoint_bytes() const {
    if (!has_stage("train", false)) return 0;
    double bytes = 0;
    for (const recipes::StageRecipe& stage : recipe_.stages) {
      if (stage.kind != "train") continue;
      const auto units =
          model::make_units(config_, {stage.train.begin(), stage.train.end()}, model::lora_config(stage.lora));
      const auto samples = samples_.find(stage.name);
      const int64_t steps = stage.total_steps(samples == samples_.end() ? 0 : static_cast<int64_t>(samples->second));
      const int64_t one = sharding::checkpoint_bytes(units, stage.optimizer.moments());
      bytes +=
          static_cast<double>(one) * static_cast<double>(sharding::checkpoint_peak(
                                         steps, stage.checkpoint.every_steps, kept_checkpoints(stage.checkpoint), one));
    }
    return bytes;
  }

  Status check_disk() {
    TEPHRA_ASSIGN_OR_RETURN(const uint64_t free, Env::posix().free_bytes(context_.store_dir));
    const double wanted = checkpoint_bytes();
    if (wanted <= static_cast<double>(free)) return ok_status();
    const auto gib = [](double bytes) {
      return std::to_string(static_cast<int64_t>(std::ceil(bytes / (1 << 30)))) + " GiB";
    };
    return {Code::kNoSpace, "the job's checkpoints need about " + gib(wanted) + " and " + context_.store_dir + " has " +
                                gib(static_cast<double>(free)) +
                                " free; set checkpoint.keep or a larger checkpoint.every_steps, or use another store"};
  }

  Status import_base() {
    std::string prints;
    std::unique_ptr<TensorSource> source;
    if (has_stage("train", true)) {
      TEPHRA_ASSIGN_OR_RETURN(source, open_whole(&prints));
    } else {
      TEPHRA_ASSIGN_OR_RETURN(const std::string vision, weights_fingerprint(recipe_.model.vision));
      TEPHRA_ASSIGN_OR_RETURN(const std::string language, weights_fingerprint(recipe_.model.language));
      if (has_stage("contrastive", true) && !vision.empty()) {
        TEPHRA_ASSIGN_OR_RETURN(source, model::open_clip(recipe_.model.vision));
        prints = "clip " + vision;
      } else if (has_stage("language_model", true) && !language.empty()) {
        TEPHRA_ASSIGN_OR_RETURN(source, model::open_model({"", "", "", recipe_.model.language}));
        prints = "language " + language;
      }
    }
    if (source == nullptr) return ok_status();  // a base training from initial values
    TEPHRA_RETURN_IF_ERROR(step("importing the base model"));
    storage::ImportOptions options;
    options.import_key = hash_text(prints).hex();
    options.handover = out_.handover;
    options.progress = context_.import_progress;
    TEPHRA_ASSIGN_OR_RETURN(const storage::Manifest manifest, context_.store->import_tensors(*source, options));
    out_.base_checkpoint = manifest.name();
    out_.handover.merge(weight_hashes(manifest));
    return ok_status();
  }

  // The whole model, with a connector that has no file drawn from the seed, so that the base is a model by itself.
  Result<std::unique_ptr<TensorSource>> open_whole(std::string* prints) {
    const auto& model = recipe_.model;
    for (const std::string& folder : {model.llava, model.vision, model.language, model.connector.init}) {
      TEPHRA_ASSIGN_OR_RETURN(const std::string print, weights_fingerprint(folder));
      *prints += print;
    }
    *prints += config_.connector.kind + ";" + std::to_string(config_.vision_layer);
    TEPHRA_ASSIGN_OR_RETURN(std::unique_ptr<TensorSource> source, model::open_model(paths()));
    const std::vector<sharding::UnitSpec> units = model::make_units(config_, {});
    const bool drawn = model.llava.empty() && model.connector.init.empty();
    std::vector<Diagnostic> wrong =
        model::check_against_units(*source, units, model.llava.empty() ? model.language : model.llava,
                                   drawn ? std::vector<std::string>{"connector"} : std::vector<std::string>{});
    for (Diagnostic& d : wrong)
      if (!model.vision.empty() && d.field.starts_with("vision_tower.")) d.file = model.vision;
    if (!wrong.empty()) return from_diagnostics(wrong, wrong.size());
    if (!drawn) return source;
    *prints += ";seed " + std::to_string(recipe_.seed);
    return model::with_initial_values(std::move(source), units, static_cast<uint64_t>(recipe_.seed));
  }

  const recipes::Recipe& recipe_;
  const PreparationContext& context_;
  PreparedJob out_;
  model::ModelConfig config_;
  int image_tokens_ = 1;
  std::unique_ptr<data::Tokenizer> tokenizer_;
  std::map<std::string, uint64_t> samples_;  // of a stage
  std::map<std::string, int64_t> longest_;   // of a stage's samples, tokens
};

}  // namespace

std::map<std::string, std::string> weight_hashes(const storage::Manifest& base) {
  std::map<std::string, std::string> hashes;
  for (const auto& [key, prefix] : {std::pair{"vision", "vision_tower."}, {"language", "language_model."}}) {
    std::vector<storage::ManifestTensor> part;
    for (const storage::ManifestTensor& tensor : base.tensors)
      if (tensor.name.starts_with(prefix)) part.push_back(tensor);
    if (!part.empty()) hashes[key] = storage::content_hash_of(part).hex();
  }
  return hashes;
}

std::map<std::string, std::string> stage_handover(const PreparedJob& prepared, const recipes::StageRecipe& stage) {
  std::map<std::string, std::string> handover = prepared.handover;
  handover["template"] = stage.template_name;
  handover["image_aspect"] = stage.image_aspect;
  if (stage.lora) handover["lora"] = recipes::to_string(*stage.lora);
  if (const auto data = prepared.data_hashes.find(stage.name); data != prepared.data_hashes.end())
    handover["data"] = data->second;
  return handover;
}

std::string to_json(const PreparedJob& prepared) {
  json datasets = json::object();
  for (const auto& [name, dataset] : prepared.datasets)
    datasets[name] = {{"kind", dataset.kind}, {"dir", dataset.dir}, {"options", dataset.options}};
  return json{{"base_checkpoint", prepared.base_checkpoint},
              {"model_dir", prepared.model_dir},
              {"datasets", datasets},
              {"handover", prepared.handover},
              {"data_hashes", prepared.data_hashes},
              {"resume_step", prepared.resume_step}}
      .dump();
}

Result<PreparedJob> prepared_from_json(const std::string& text) {
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object()) return Status(Code::kCorruption, "the journal's record of a preparation is not JSON");
  PreparedJob prepared;
  try {
    prepared.base_checkpoint = document.at("base_checkpoint");
    prepared.model_dir = document.at("model_dir");
    prepared.handover = document.at("handover").get<std::map<std::string, std::string>>();
    prepared.data_hashes = document.value("data_hashes", prepared.data_hashes);  // absent in an earlier build's
    prepared.resume_step = document.value("resume_step", prepared.resume_step);
    for (const auto& [name, dataset] : document.at("datasets").items()) {
      data::PreparedDataset& made = prepared.datasets[name];
      made.kind = dataset.at("kind");
      made.dir = dataset.at("dir");
      made.options = dataset.at("options").get<std::map<std::string, std::string>>();
    }
  } catch (const json::exception& error) {
    return Status(Code::kCorruption, std::string("the journal's record of a preparation: ") + error.what());
  }
  return prepared;
}

Result<PreparedJob> prepare_job(const recipes::Recipe& recipe, const PreparationContext& context) {
  return Preparation(recipe, context).run();
}

Result<storage::Manifest> import_model(const std::string& folder, const PreparationContext& context) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), folder + "/config.json"));
  const json config = json::parse(text, nullptr, false);
  const std::string type = config.is_object() ? config.value("model_type", "") : "";
  recipes::Recipe recipe;
  recipe.name = "import";
  recipe.stages.emplace_back();
  recipe.stages.front().init = "base";
  if (type == "llava") {
    recipe.model.llava = folder;
  } else if (type == "llama") {
    recipe.stages.front().kind = "language_model";
    recipe.model.language = folder;
  } else if (type == "clip") {
    recipe.stages.front().kind = "contrastive";
    recipe.model.vision = folder;
  } else {
    return Status(Code::kUnsupported,
                  folder + "/config.json has model_type '" + type +
                      "'; a folder of llava, llama or clip can be imported, or a .safetensors file");
  }
  return Preparation(recipe, context).import();
}

}  // namespace tephra::coordinator
