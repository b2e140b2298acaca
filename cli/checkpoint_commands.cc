#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/app.h"
#include "cli/text.h"
#include "model/spec/lora.h"
#include "model/spec/model_folder.h"
#include "model/spec/units.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

struct Options {
  std::string store = "tephra-store", name, job, out, dtype = "float32", layout = "llava-hf", lora = "merged";
  uint64_t max_shard_bytes = uint64_t{5} << 30;
  bool json = false;
};

Result<std::unique_ptr<storage::Store>> open_store(const Options& o) {
  return storage::Store::open(Env::posix(), o.store, storage::OpenMode::kReadOnly);
}

json describe(const storage::Manifest& m) {
  return {{"name", m.name()},
          {"job", m.job},
          {"stage", m.stage},
          {"step", m.step},
          {"attempt", m.attempt},
          {"created_unix_ms", m.created_unix_ms},
          {"parent", m.parent},
          {"sampler_position", m.sampler_position},
          {"stage_complete", m.stage_complete},
          {"content_hash", m.content_hash.hex()},
          {"logical_bytes", m.logical_bytes},
          {"new_bytes", m.new_bytes},
          {"metrics", m.metrics},
          {"handover", m.handover},
          {"build", m.build}};
}

int list(const Options& o) {
  auto store = open_store(o);
  if (!store.ok()) return fail(store.status());
  auto checkpoints = (*store)->list(o.job);
  if (!checkpoints.ok()) return fail(checkpoints.status());
  if (o.json) {
    json all = json::array();
    for (const auto& c : *checkpoints) {
      all.push_back(describe(c.header));
      all.back()["tags"] = c.tags;
    }
    std::printf("%s\n", all.dump(2).c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& c : *checkpoints) {
    const storage::Manifest& m = c.header;
    std::string tags;
    for (const auto& t : c.tags) tags += (tags.empty() ? "" : ",") + t;
    auto loss = m.metrics.find("loss");
    rows.push_back({c.name, m.stage_complete ? "yes" : "", loss == m.metrics.end() ? "" : fixed(loss->second, 4),
                    human_bytes(static_cast<double>(m.logical_bytes)), human_bytes(static_cast<double>(m.new_bytes)),
                    m.content_hash.hex().substr(0, 12), age(m.created_unix_ms), tags});
  }
  std::printf("%s",
              table({"checkpoint", "complete", "loss", "whole", "written", "content", "made", "tags"}, rows).c_str());
  return kOk;
}

int show(const Options& o) {
  auto store = open_store(o);
  if (!store.ok()) return fail(store.status());
  auto m = (*store)->get(o.name);
  if (!m.ok()) return fail(m.status());
  if (o.json) {
    json document = describe(*m);
    for (const auto& t : m->tensors)
      document["tensors"].push_back({{"name", t.name},
                                     {"kind", storage::state_kind_name(t.kind)},
                                     {"dtype", dtype_name(t.dtype)},
                                     {"shape", t.shape},
                                     {"frozen", t.frozen},
                                     {"content", t.content.hex()}});
    std::printf("%s\n", document.dump(2).c_str());
    return kOk;
  }
  std::printf(
      "%s\n  content   %s\n  parent    %s\n  made      %s, attempt %lld, build %s\n  data      sampler position %llu%s\n  bytes     %s "
      "whole, %s written by this checkpoint\n",
      m->name().c_str(), m->content_hash.hex().c_str(), m->parent.empty() ? "-" : m->parent.c_str(),
      age(m->created_unix_ms).c_str(), static_cast<long long>(m->attempt), m->build.c_str(),
      static_cast<unsigned long long>(m->sampler_position), m->stage_complete ? ", stage complete" : "",
      human_bytes(static_cast<double>(m->logical_bytes)).c_str(),
      human_bytes(static_cast<double>(m->new_bytes)).c_str());
  for (const auto& [key, value] : m->metrics) std::printf("  %-9s %s\n", key.c_str(), fixed(value, 4).c_str());
  for (const auto& [key, value] : m->handover) std::printf("  %-9s %s\n", key.c_str(), value.c_str());
  std::vector<std::vector<std::string>> rows;
  for (const auto& t : m->tensors)
    rows.push_back({t.name, std::string(storage::state_kind_name(t.kind)), std::string(dtype_name(t.dtype)),
                    tephra::to_string(t.shape), t.frozen ? "frozen" : "trained"});
  std::printf("\n%s", table({"tensor", "kind", "dtype", "shape", ""}, rows).c_str());
  return kOk;
}

int verify(const Options& o) {
  auto store = open_store(o);
  if (!store.ok()) return fail(store.status());
  std::vector<std::string> names{o.name};
  if (o.name.empty()) {
    names.clear();
    auto all = (*store)->list();
    if (!all.ok()) return fail(all.status());
    for (const auto& c : *all) names.push_back(c.name);
  }
  json document = json::array();
  bool good = true;
  for (const std::string& name : names) {
    auto report = (*store)->verify(name);
    if (!report.ok()) return fail(report.status());
    good = good && report->ok();
    json problems = json::array();
    for (const auto& p : report->problems)
      problems.push_back(
          {{"tensor", p.tensor}, {"pack", p.pack}, {"chunk", p.chunk.hash.hex()}, {"message", p.message}});
    document.push_back({{"name", report->name},
                        {"ok", report->ok()},
                        {"tensors", report->tensor_count},
                        {"chunks", report->chunk_count},
                        {"bytes", report->bytes_read},
                        {"problems", problems}});
    if (o.json) continue;
    std::printf("%s  %s  %lld tensors, %lld chunks, %s read\n", report->name.c_str(), report->ok() ? "ok" : "DAMAGED",
                static_cast<long long>(report->tensor_count), static_cast<long long>(report->chunk_count),
                human_bytes(static_cast<double>(report->bytes_read)).c_str());
    for (const auto& p : report->problems) std::printf("  %s: %s\n", p.tensor.c_str(), p.message.c_str());
  }
  if (o.json) std::printf("%s\n", document.dump(2).c_str());
  return good ? kOk : kFailed;
}

// What is exported follows from how the checkpoint was made: a LLaVA model, or one of the base models alone.
Status export_checkpoint(const Options& o) {
  TEPHRA_ASSIGN_OR_RETURN(const DType dtype, parse_float_dtype(o.dtype));
  if (o.layout != "llava-hf" && o.layout != "original")
    return {Code::kInvalidArgument, "--layout " + o.layout + ": there are llava-hf and original"};
  if (o.lora != "merged" && o.lora != "separate")
    return {Code::kInvalidArgument, "--lora " + o.lora + ": there are merged and separate"};
  TEPHRA_ASSIGN_OR_RETURN(auto store, open_store(o));
  TEPHRA_ASSIGN_OR_RETURN(std::string name, store->resolve(o.name));
  TEPHRA_ASSIGN_OR_RETURN(auto reader, store->reader(name));
  const storage::Manifest& manifest = reader->manifest();
  TEPHRA_ASSIGN_OR_RETURN(recipes::Recipe recipe, recipes::from_json(manifest.recipe_json));
  const recipes::StageRecipe* stage = recipe.find_stage(manifest.stage);
  auto kept = manifest.handover.find("model_files");
  if (stage == nullptr || kept == manifest.handover.end())
    return {Code::kUnsupported, name + " does not say how it was made, so it cannot be exported"};
  const auto lora = model::lora_config(stage->lora);
  const bool separate = o.lora == "separate";
  if (separate && !lora)
    return {Code::kInvalidArgument, name + " was trained without lora, so it has no adapters; leave --lora away"};
  std::unique_ptr<TensorSource> merged;
  if (lora && !separate) {
    TEPHRA_ASSIGN_OR_RETURN(merged, model::merged_lora(*reader, *lora));
  }
  const TensorSource& source = merged ? *merged : *reader;
  const std::string files = o.store + "/models/" + kept->second;
  model::ExportOptions options;
  options.dtype = dtype;
  options.max_shard_bytes = static_cast<int64_t>(o.max_shard_bytes);
  if (stage->kind == "contrastive") {
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_clip_config(files + "/vision"));
    options.tokenizer_folder = options.image_folder = files + "/vision";
    return model::export_clip(Env::posix(), o.out, config, *reader, options);
  }
  if (stage->kind == "language_model") {
    TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_llama_config(files + "/language"));
    options.tokenizer_folder = files + "/language";
    options.base_model = recipe.model.language;
    return separate ? model::export_llama_adapters(Env::posix(), o.out, config, *lora, source, options)
                    : model::export_llama(Env::posix(), o.out, config, source, options);
  }
  model::ModelPaths paths;
  model::PartsOptions parts;
  if (!recipe.model.llava.empty()) {
    paths.model = options.tokenizer_folder = options.image_folder = files + "/llava";
  } else {
    paths.vision = options.image_folder = files + "/vision";
    paths.llm = options.tokenizer_folder = files + "/language";
    parts.connector_kind = recipe.model.connector.kind;
    parts.vision_layer = static_cast<int>(recipe.model.vision_layer);
  }
  TEPHRA_ASSIGN_OR_RETURN(auto config, model::load_model_config(paths, parts));
  const bool original = o.layout == "original";
  if (separate) {
    options.base_model = original ? recipe.model.language : recipe.model.llava;
    return original ? model::export_original_adapters(Env::posix(), o.out, config, *lora, source, options)
                    : model::export_llava_adapters(Env::posix(), o.out, config, *lora, source, options);
  }
  return original ? model::export_original(Env::posix(), o.out, config, source, options)
                  : model::export_llava(Env::posix(), o.out, config, source, options);
}

int run_export(const Options& o) {
  if (Status status = export_checkpoint(o); !status.ok()) return fail(status);
  if (o.json) {
    std::printf("%s\n", json{{"checkpoint", o.name}, {"folder", o.out}}.dump().c_str());
  } else {
    std::printf("%s exported to %s\n", o.name.c_str(), o.out.c_str());
  }
  return kOk;
}
}  // namespace

void add_checkpoints(Verbs& verbs) {
  auto* group = verbs.app.add_subcommand("ckpt", "The checkpoints of a store");
  group->require_subcommand(1);
  auto o = std::make_shared<Options>();
  auto add = [&](const std::string& name, const std::string& about, int (*run)(const Options&),
                 const std::string& example) {
    auto* verb = group->add_subcommand(name, about);
    verb->add_option("--store", o->store, "store folder")->envname("TEPHRA_STORE")->capture_default_str();
    verb->add_flag("--json", o->json, "one JSON document");
    verb->footer("A checkpoint is named JOB/STAGE@STEP, JOB/STAGE@latest, or by a tag.\nExample:\n  " + example);
    verb->callback([&verbs, o, run] { verbs.chosen = [o, run] { return run(*o); }; });
    return verb;
  };
  add("ls", "List checkpoints", list, "tephra ckpt ls --store tephra-store")
      ->add_option("--job", o->job, "only this job's");
  add("show", "One checkpoint: origin, bytes, tensors", show, "tephra ckpt show demo-1/align@latest")
      ->add_option("CHECKPOINT", o->name)
      ->required();
  add("verify", "Read everything again and compare checksums", verify, "tephra ckpt verify demo-1/instruct@latest")
      ->add_option("CHECKPOINT", o->name, "all when left out");
  auto* ex = add("export", "Write a Hugging Face layout folder", run_export,
                 "tephra ckpt export demo-1/instruct@latest --out my-llava");
  ex->add_option("CHECKPOINT", o->name)->required();
  ex->add_option("--out", o->out, "folder to write")->required();
  ex->add_option("--layout", o->layout,
                 "llava-hf (transformers), or original (liuhaotian/llava-*, with CLIP in vision_tower/)")
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
}

}  // namespace tephra::cli
