// ckpt export and import: checkpoints to and from folders that other programs read.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "cli/checkpoint_verbs.h"
#include "cli/text.h"
#include "coordinator/preparation.h"
#include "model/spec/lora.h"
#include "model/spec/model_folder.h"
#include "model/spec/safetensors.h"
#include "model/spec/units.h"
#include "recipes/recipe.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

struct Options {
  ReadOptions read;
  std::string name, out, dtype = "float32", layout = "llava-hf", lora = "merged", only = "all", source, tag;
  uint64_t max_shard_bytes = uint64_t{5} << 30;
};

// --- export

// How the checkpoint's model is made up, from its recipe; of an imported one, from what was kept of it.
struct Made {
  std::string kind;             // of the stage
  std::string language, llava;  // folders that the recipe named, for adapters
  model::ModelPaths paths;
  model::PartsOptions parts;
  std::optional<model::LoraConfig> lora;
};

Result<Made> how_made(const storage::Manifest& manifest, const std::string& files) {
  Made made;
  const Status unknown(Code::kUnsupported, manifest.name() + " does not say how it was made, so it cannot be exported");
  Env& env = Env::posix();
  const bool llava = env.exists(files + "/llava"), vision = env.exists(files + "/vision"),
             language = env.exists(files + "/language");
  if (llava) made.paths.model = files + "/llava";
  if (vision && !llava) made.paths.vision = files + "/vision";
  if (language && !llava) made.paths.llm = files + "/language";
  if (manifest.job == "base") {
    made.kind = llava || (vision && language) ? "train" : vision ? "contrastive" : "language_model";
    const auto connector = manifest.handover.find("connector"), layer = manifest.handover.find("vision_layer");
    if (!llava && made.kind == "train") {
      if (connector == manifest.handover.end() || layer == manifest.handover.end()) return unknown;
      made.parts.connector_kind = connector->second;
      made.parts.vision_layer = std::atoi(layer->second.c_str());
    }
    return made;
  }
  TEPHRA_ASSIGN_OR_RETURN(const recipes::Recipe recipe, recipes::from_json(manifest.recipe_json));
  const recipes::StageRecipe* stage = recipe.find_stage(manifest.stage);
  if (stage == nullptr) return unknown;
  made.kind = stage->kind;
  made.language = recipe.model.language;
  made.llava = recipe.model.llava;
  made.lora = model::lora_config(stage->lora);
  if (recipe.model.llava.empty()) {
    made.parts.connector_kind = recipe.model.connector.kind;
    made.parts.vision_layer = static_cast<int>(recipe.model.vision_layer);
  }
  return made;
}

Status check_choices(const Options& o) {
  if (o.layout != "llava-hf" && o.layout != "original")
    return {Code::kInvalidArgument, "--layout " + o.layout + ": there are llava-hf and original"};
  if (o.lora != "merged" && o.lora != "separate")
    return {Code::kInvalidArgument, "--lora " + o.lora + ": there are merged and separate"};
  if (o.only != "all" && o.only != "connector")
    return {Code::kInvalidArgument, "--only " + o.only + ": there is connector"};
  return ok_status();
}

Status export_checkpoint(const Options& o) {
  TEPHRA_ASSIGN_OR_RETURN(const DType dtype, parse_float_dtype(o.dtype));
  TEPHRA_RETURN_IF_ERROR(check_choices(o));
  TEPHRA_ASSIGN_OR_RETURN(const auto store, open_to_read(o.read.store));
  TEPHRA_ASSIGN_OR_RETURN(const std::string name, store->resolve(o.name));
  TEPHRA_ASSIGN_OR_RETURN(const auto reader, store->reader(name));
  const storage::Manifest& manifest = reader->manifest();
  const auto kept = manifest.handover.find("model_files");
  if (kept == manifest.handover.end())
    return {Code::kUnsupported, name + " does not say how it was made, so it cannot be exported"};
  const std::string files = o.read.store + "/models/" + kept->second;
  TEPHRA_ASSIGN_OR_RETURN(const Made made, how_made(manifest, files));
  const bool separate = o.lora == "separate", connector = o.only == "connector";
  if (separate && !made.lora)
    return {Code::kInvalidArgument, name + " was trained without lora, so it has no adapters; leave --lora away"};
  if (connector && made.kind != "train")
    return {Code::kInvalidArgument, name + " is of a " + made.kind + " stage, which has no connector"};
  std::unique_ptr<TensorSource> merged;
  if (made.lora && !separate && !connector) {
    TEPHRA_ASSIGN_OR_RETURN(merged, model::merged_lora(*reader, *made.lora));
  }
  const TensorSource& source = merged ? *merged : *reader;
  model::ExportOptions options;
  options.dtype = dtype;
  options.max_shard_bytes = static_cast<int64_t>(o.max_shard_bytes);
  Env& env = Env::posix();
  if (made.kind == "contrastive") {
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_clip_config(files + "/vision"));
    options.tokenizer_folder = options.image_folder = files + "/vision";
    return model::export_clip(env, o.out, config, *reader, options);
  }
  if (made.kind == "language_model") {
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_llama_config(files + "/language"));
    options.tokenizer_folder = files + "/language";
    options.base_model = made.language;
    return separate ? model::export_llama_adapters(env, o.out, config, *made.lora, source, options)
                    : model::export_llama(env, o.out, config, source, options);
  }
  const bool whole = !made.paths.model.empty();
  options.image_folder = whole ? made.paths.model : made.paths.vision;
  options.tokenizer_folder = whole ? made.paths.model : made.paths.llm;
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(made.paths, made.parts));
  if (connector) return model::export_connector(env, o.out, config, *reader, options);
  const bool original = o.layout == "original";
  if (separate) {
    options.base_model = original ? made.language : made.llava;
    return original ? model::export_original_adapters(env, o.out, config, *made.lora, source, options)
                    : model::export_llava_adapters(env, o.out, config, *made.lora, source, options);
  }
  return original ? model::export_original(env, o.out, config, source, options)
                  : model::export_llava(env, o.out, config, source, options);
}

int run_export(const Options& o) {
  if (Status status = export_checkpoint(o); !status.ok()) return fail(status);
  if (o.read.json) {
    std::printf("%s\n", json{{"checkpoint", o.name}, {"folder", o.out}}.dump().c_str());
  } else {
    std::printf("%s exported to %s\n", o.name.c_str(), o.out.c_str());
  }
  return kOk;
}

// --- import

// A .safetensors file as it is, whatever its tensors are called.
class FileSource : public TensorSource {
 public:
  explicit FileSource(std::unique_ptr<model::SafetensorsFile> file) : file_(std::move(file)) {}
  const std::vector<TensorInfo>& tensors() const override { return file_->tensors(); }
  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
    TEPHRA_ASSIGN_OR_RETURN(const auto bytes, range(name, begin, count));
    return convert_to_float32(bytes.data(), find(name)->dtype, count, out);
  }
  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    TEPHRA_ASSIGN_OR_RETURN(const auto bytes, range(name, begin, count));
    std::copy(bytes.begin(), bytes.end(), out);
    return ok_status();
  }

 private:
  Result<std::span<const std::byte>> range(const std::string& name, int64_t begin, int64_t count) const {
    TEPHRA_ASSIGN_OR_RETURN(const auto bytes, file_->bytes(name));
    const auto element = static_cast<size_t>(size_bytes(find(name)->dtype));
    return bytes.subspan(static_cast<size_t>(begin) * element, static_cast<size_t>(count) * element);
  }
  std::unique_ptr<model::SafetensorsFile> file_;
};

Result<storage::Manifest> import_source(const Options& o) {
  Env& env = Env::posix();
  if (!env.exists(o.source))
    return Status(Code::kNotFound, o.source + " does not exist; name a model's folder or a .safetensors file");
  if (!o.source.ends_with(".safetensors") && !std::filesystem::is_directory(o.source))
    return Status(Code::kInvalidArgument, o.source + " is neither a model's folder nor a .safetensors file");
  TEPHRA_ASSIGN_OR_RETURN(const auto store, storage::Store::open(env, o.read.store, storage::OpenMode::kReadWrite));
  const bool bar = !o.read.json && is_terminal(2);
  const auto progress = [bar](uint64_t done, uint64_t total) {
    if (bar)
      std::fprintf(stderr, "\r\033[Kreading %s of %s", human_bytes(static_cast<double>(done)).c_str(),
                   human_bytes(static_cast<double>(total)).c_str());
  };
  const auto read = [&]() -> Result<storage::Manifest> {
    if (o.source.ends_with(".safetensors")) {
      TEPHRA_ASSIGN_OR_RETURN(auto file, model::SafetensorsFile::open(o.source));
      storage::ImportOptions options;
      options.build = "tephra " + std::string(kVersion);
      options.progress = progress;
      return store->import_tensors(FileSource(std::move(file)), options);
    }
    coordinator::PreparationContext context;
    context.store = store.get();
    context.store_dir = o.read.store;
    context.import_progress = progress;
    return coordinator::import_model(o.source, context);
  };
  auto manifest = read();
  if (bar) std::fprintf(stderr, "\r\033[K");
  if (manifest.ok() && !o.tag.empty()) TEPHRA_RETURN_IF_ERROR(store->tag(o.tag, manifest->name(), false));
  return manifest;
}

int run_import(const Options& o) {
  const auto manifest = import_source(o);
  if (!manifest.ok()) return fail(manifest.status());
  if (o.read.json) {
    json document = describe(*manifest);
    if (!o.tag.empty()) document["tags"] = {o.tag};
    std::printf("%s\n", document.dump(2).c_str());
    return kOk;
  }
  std::printf("%s is checkpoint %s: %s of tensors, %s of them new to the store%s\n", o.source.c_str(),
              manifest->name().c_str(), human_bytes(static_cast<double>(manifest->logical_bytes)).c_str(),
              human_bytes(static_cast<double>(manifest->new_bytes)).c_str(),
              o.tag.empty() ? "" : (", tagged '" + o.tag + "'").c_str());
  return kOk;
}

}  // namespace

void add_checkpoint_files(Verbs& verbs, CLI::App& group) {
  auto o = std::make_shared<Options>();
  auto* ex = add_read_verb(verbs, group, "export", "Write a Hugging Face layout folder",
                           "tephra ckpt export demo-1/instruct@latest --out my-llava\n"
                           "  tephra ckpt export demo-1/align@latest --only connector --out my-connector",
                           &o->read, [o] { return run_export(*o); });
  ex->add_option("CHECKPOINT", o->name)->required();
  ex->add_option("--out", o->out, "folder to write")->required();
  ex->add_option("--layout", o->layout,
                 "llava-hf (transformers), or original (liuhaotian/llava-*, with CLIP in vision_tower/)")
      ->capture_default_str();
  ex->add_option("--only", o->only, "connector: LLaVA's mm_projector.safetensors with its config.json; all")
      ->capture_default_str();
  ex->add_option(
        "--lora", o->lora,
        "of a stage with lora: merged into the weights, or separate, a small folder with adapters and connector "
        "that PEFT loads")
      ->capture_default_str();
  ex->add_option("--dtype", o->dtype, "float32, float16 or bfloat16")->capture_default_str();
  ex->add_option("--max-shard-size", o->max_shard_bytes,
                 "start another weight file at this size; 500MB, 2GiB (default: 5GiB)")
      ->transform(CLI::AsSizeValue(true))
      ->check(CLI::PositiveNumber);

  auto* im = add_read_verb(verbs, group, "import",
                           "Read a model's folder (llava, llama, clip) or a .safetensors file into the store",
                           "tephra ckpt import llava-1.5-7b-hf --store tephra-store --tag llava-7b\n"
                           "The store is made when there is none; the same tensors twice are stored once.",
                           &o->read, [o] { return run_import(*o); });
  im->add_option("SOURCE", o->source, "folder or file")->required();
  im->add_option("--tag", o->tag, "name to give it");
}

}  // namespace tephra::cli
