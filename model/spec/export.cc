// Folders that transformers loads. config.json states every size, defaults too, so that a later change of a default
// cannot change a model.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "model/spec/model_folder.h"
#include "model/spec/safetensors.h"
#include "model/spec/units.h"

namespace tephra::model {
namespace {

using Json = nlohmann::ordered_json;

Result<std::string> torch_dtype(DType dtype) {
  if (dtype == DType::kFloat32) return std::string("float32");
  if (dtype == DType::kBFloat16) return std::string("bfloat16");
  if (dtype == DType::kFloat16) return std::string("float16");
  return Status(Code::kInvalidArgument,
                "weights cannot be exported as " + std::string(dtype_name(dtype)) + "; use F32, BF16 or F16");
}

Status write_json(Env& env, const std::string& path, const Json& json) {
  return write_file_atomic(env, path, json.dump(2) + "\n");
}

Json rope_scaling_json(const RopeScaling& r) {
  if (r.kind == "default") return nullptr;
  Json out = {{"factor", r.factor}, {"rope_type", r.kind}};
  if (r.kind == "linear") return out;
  out["high_freq_factor"] = r.high_freq_factor;
  out["low_freq_factor"] = r.low_freq_factor;
  out["original_max_position_embeddings"] = r.original_length;
  return out;
}

Json llama_json(const LlamaConfig& c, const std::string& dtype) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"attention_bias", false},
          {"bos_token_id", c.bos_token_id},
          {"eos_token_id", c.eos_token_id},
          {"head_dim", c.head_dim},
          {"hidden_act", "silu"},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"max_position_embeddings", c.max_position_embeddings},
          {"mlp_bias", false},
          {"model_type", "llama"},
          {"num_attention_heads", c.num_heads},
          {"num_hidden_layers", c.num_layers},
          {"num_key_value_heads", c.num_kv_heads},
          {"pad_token_id", c.pad_token_id},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_scaling", rope_scaling_json(c.rope_scaling)},
          {"rope_theta", c.rope_theta},
          {"tie_word_embeddings", c.tied_head},
          {"torch_dtype", dtype},
          {"vocab_size", c.vocab_size}};
}

Json vision_json(const ClipVisionConfig& c, int64_t projection_dim) {
  return {{"hidden_act", c.hidden_act},         {"hidden_size", c.hidden_size},
          {"image_size", c.image_size},         {"intermediate_size", c.intermediate_size},
          {"layer_norm_eps", c.layer_norm_eps}, {"model_type", "clip_vision_model"},
          {"num_attention_heads", c.num_heads}, {"num_channels", 3},
          {"num_hidden_layers", c.num_layers},  {"patch_size", c.patch_size},
          {"projection_dim", projection_dim}};
}

Json clip_text_json(const ClipTextConfig& c, int64_t projection_dim) {
  return {{"bos_token_id", c.bos_token_id},
          {"eos_token_id", c.eos_token_id},
          {"hidden_act", c.hidden_act},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"layer_norm_eps", c.layer_norm_eps},
          {"max_position_embeddings", c.max_position_embeddings},
          {"model_type", "clip_text_model"},
          {"num_attention_heads", c.num_heads},
          {"num_hidden_layers", c.num_layers},
          {"pad_token_id", c.pad_token_id},
          {"projection_dim", projection_dim},
          {"vocab_size", c.vocab_size}};
}

Json llava_json(const ModelConfig& c, const std::string& dtype) {
  return {{"architectures", {"LlavaForConditionalGeneration"}},
          {"ignore_index", -100},
          {"image_seq_length", c.tokens_per_image()},
          {"image_token_index", c.image_token_index},
          {"model_type", "llava"},
          {"pad_token_id", c.text.pad_token_id},
          {"projector_hidden_act", c.connector.kind == "linear" ? "linear" : "gelu"},
          {"text_config", llama_json(c.text, dtype)},
          {"tie_word_embeddings", c.text.tied_head},
          {"torch_dtype", dtype},
          {"vision_config", vision_json(c.vision, 512)},
          {"vision_feature_layer", c.vision_layer},
          {"vision_feature_select_strategy", c.drop_class_token ? "default" : "full"}};
}

Json generation_json(const LlamaConfig& c) {
  return {{"bos_token_id", c.bos_token_id}, {"eos_token_id", c.eos_token_id}, {"pad_token_id", c.pad_token_id}};
}

Json preprocessor_json(int64_t size) {
  return {{"crop_size", {{"height", size}, {"width", size}}},
          {"do_center_crop", true},
          {"do_convert_rgb", true},
          {"do_normalize", true},
          {"do_rescale", true},
          {"do_resize", true},
          {"image_mean", {0.48145466, 0.4578275, 0.40821073}},
          {"image_processor_type", "CLIPImageProcessor"},
          {"image_std", {0.26862954, 0.26130258, 0.27577711}},
          {"resample", 3},
          {"rescale_factor", 0.00392156862745098},
          {"size", {{"shortest_edge", size}}}};
}

Status copy_file(Env& env, const std::string& from, const std::string& to) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(env, from));
  return write_file_atomic(env, to, bytes);
}

Status copy_tokenizer(Env& env, const std::string& from, const std::string& to) {
  if (from.empty() || from == to) return ok_status();
  bool any = false;
  for (const char* name :
       {"tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "chat_template.json", "chat_template.jinja"}) {
    if (!env.exists(from + "/" + name)) continue;
    TEPHRA_RETURN_IF_ERROR(copy_file(env, from + "/" + name, to + "/" + name));
    any = any || std::string_view(name).starts_with("tokenizer.") || std::string_view(name) == "vocab.json";
  }
  if (!any)
    return {Code::kNotFound, from + " holds no tokenizer.model or tokenizer.json; name the folder of the tokenizer"};
  return ok_status();
}

Status write_preprocessor(Env& env, const std::string& folder, const ExportOptions& options, int64_t image_size) {
  const std::string source = options.image_folder + "/preprocessor_config.json";
  if (!options.image_folder.empty() && env.exists(source))
    return options.image_folder == folder ? ok_status() : copy_file(env, source, folder + "/preprocessor_config.json");
  return write_json(env, folder + "/preprocessor_config.json", preprocessor_json(image_size));
}

Result<Json> read_json(Env& env, const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(std::string text, read_file(env, path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) return Status(Code::kInvalidArgument, path + " is not a JSON object");
  return json;
}

// A plain LLaMA's tokenizer has no <image>, which transformers' LlavaProcessor expands by name; it gets one at
// image_token_index.
Status add_image_token(Env& env, const std::string& folder, int64_t id) {
  const std::string added = folder + "/added_tokens.json", config = folder + "/tokenizer_config.json",
                    fast = folder + "/tokenizer.json";
  Json tokens = Json::object();
  if (env.exists(added)) {
    TEPHRA_ASSIGN_OR_RETURN(tokens, read_json(env, added));
  }
  if (tokens.contains("<image>")) return ok_status();
  Json entry = {{"content", "<image>"}, {"lstrip", false},      {"normalized", false},
                {"rstrip", false},      {"single_word", false}, {"special", true}};
  if (env.exists(config)) {
    TEPHRA_ASSIGN_OR_RETURN(Json json, read_json(env, config));
    if (json.contains("added_tokens_decoder") && json["added_tokens_decoder"].is_object()) {
      for (const auto& [key, value] : json["added_tokens_decoder"].items())
        if (value.is_object() && value.value("content", "") == "<image>") return ok_status();
    }
    json["added_tokens_decoder"][std::to_string(id)] = entry;
    TEPHRA_RETURN_IF_ERROR(write_json(env, config, json));
  }
  if (env.exists(fast)) {
    TEPHRA_ASSIGN_OR_RETURN(Json json, read_json(env, fast));
    if (json.contains("added_tokens") && json["added_tokens"].is_array()) {
      for (const Json& value : json["added_tokens"])
        if (value.is_object() && value.value("content", "") == "<image>") return ok_status();
      entry["id"] = id;
      json["added_tokens"].push_back(entry);
      TEPHRA_RETURN_IF_ERROR(write_json(env, fast, json));
    }
  }
  tokens["<image>"] = id;
  return write_json(env, added, tokens);
}

// What goes into the files: the name there, and where its values come from.
struct Exported {
  std::string name;       // in the file
  std::string canonical;  // in the source
  Shape shape;
  // kPadded: the source's rows, and behind them copies of its first row.
  enum class From { kSource, kPadded, kInitial, kIdentity, kZero } from = From::kSource;
};

Status read_padded(const TensorSource& source, const std::string& name, int64_t begin, int64_t count, float* out) {
  const Shape& shape = source.find(name)->shape;
  const int64_t held = std::clamp<int64_t>(numel(shape) - begin, 0, count);
  TEPHRA_RETURN_IF_ERROR(source.read_float32(name, begin, held, out));
  if (held == count) return ok_status();
  std::vector<float> row(static_cast<size_t>(shape[1]));
  TEPHRA_RETURN_IF_ERROR(source.read_float32(name, 0, shape[1], row.data()));
  for (int64_t i = held; i < count; ++i) out[i] = row[static_cast<size_t>((begin + i) % shape[1])];
  return ok_status();
}

Status read_exported(const Exported& e, const TensorSource& source, DType dtype, int64_t begin, int64_t count,
                     std::byte* out) {
  if (e.from == Exported::From::kSource && source.find(e.canonical)->dtype == dtype)
    return source.read_bytes(e.canonical, begin, count, out);
  std::vector<float> values(static_cast<size_t>(count), 0.0f);
  switch (e.from) {
    case Exported::From::kSource:
      TEPHRA_RETURN_IF_ERROR(source.read_float32(e.canonical, begin, count, values.data()));
      break;
    case Exported::From::kPadded:
      TEPHRA_RETURN_IF_ERROR(read_padded(source, e.canonical, begin, count, values.data()));
      break;
    case Exported::From::kInitial: init_tensor(e.canonical, e.shape, 0, begin, count, values.data()); break;
    case Exported::From::kIdentity:
      for (int64_t i = 0; i < count; ++i)
        values[static_cast<size_t>(i)] = (begin + i) % (e.shape[1] + 1) == 0 ? 1.0f : 0.0f;
      break;
    case Exported::From::kZero: break;
  }
  return convert_from_float32(values.data(), count, dtype, out);
}

// Shapes are checked before the first byte is written. One file of that name, or with "" the model's files and their index.
Status write_weights(Env& env, const std::string& folder, std::vector<Exported> list, const TensorSource& source,
                     const ExportOptions& options, const std::string& file = "") {
  std::vector<TensorInfo> infos;
  std::map<std::string, const Exported*> by_name;
  for (Exported& e : list) {
    if (e.from == Exported::From::kSource || e.from == Exported::From::kPadded) {
      const TensorInfo* info = source.find(e.canonical);
      if (info == nullptr) return {Code::kNotFound, "export to " + folder + ": the model lacks tensor " + e.canonical};
      Shape stored = info->shape;
      if (e.from == Exported::From::kPadded && !stored.empty()) stored[0] = e.shape[0];
      if (stored != e.shape)
        return {Code::kInvalidArgument, "export to " + folder + ": tensor " + e.canonical + " has shape " +
                                            to_string(info->shape) + ", and the configuration gives " +
                                            to_string(e.shape)};
    }
    infos.push_back({e.name, options.dtype, e.shape});
    by_name[e.name] = &e;
  }
  auto bytes = [&](const TensorInfo& info, int64_t begin, int64_t count, std::byte* out) {
    return read_exported(*by_name.at(info.name), source, options.dtype, begin, count, out);
  };
  if (!file.empty()) return write_safetensors(env, folder + "/" + file, infos, {{"format", "pt"}}, bytes);
  auto files = write_sharded_safetensors(env, folder, infos, options.max_shard_bytes, {{"format", "pt"}}, bytes);
  return files.ok() ? ok_status() : files.status();
}

std::vector<Exported> export_list(const std::vector<sharding::UnitSpec>& units, std::string_view drop_prefix) {
  std::vector<Exported> list;
  for (const auto& unit : units)
    for (const auto& tensor : unit.tensors) {
      std::string name = tensor.name.starts_with(drop_prefix) ? tensor.name.substr(drop_prefix.size()) : tensor.name;
      list.push_back({std::move(name), tensor.name, tensor.shape});
    }
  return list;
}

// Every tensor of the model: of vision layers that it does not reach, too, which are initialised where the source lacks them.
std::vector<Exported> whole_list(ModelConfig whole, const ModelConfig& config, const TensorSource& source) {
  whole.vision_layer = -1;
  std::vector<Exported> list = export_list(make_units(whole, {}), "");
  for (const char* part : {"weight", "bias"}) {
    std::string name = std::string("vision_tower.vision_model.post_layernorm.") + part;
    list.push_back({name, name, {config.vision.hidden_size}});
  }
  const std::string layers = "vision_tower.vision_model.encoder.layers.";
  for (Exported& e : list) {
    const bool later =
        e.name.starts_with("vision_tower.vision_model.post_layernorm.") ||
        (e.name.starts_with(layers) && std::stoll(e.name.substr(layers.size())) >= config.vision_layers_used());
    if (later && source.find(e.canonical) == nullptr) e.from = Exported::From::kInitial;
  }
  return list;
}

// What makes a linear connector one of two projections, as transformers' projector is.
void add_identity_projection(std::vector<Exported>& list, const ModelConfig& config, const std::string& prefix) {
  if (config.connector.kind != "linear") return;
  const int64_t width = config.text.hidden_size;
  list.push_back({prefix + "linear_2.weight", "", {width, width}, Exported::From::kIdentity});
  list.push_back({prefix + "linear_2.bias", "", {width}, Exported::From::kZero});
}

// A connector's tensor by the original LLaVA's name.
std::string original_connector_name(const std::string& name, const ModelConfig& config) {
  const bool alone = config.connector.kind == "linear";
  for (const auto& [ours, theirs] :
       {std::pair{"multi_modal_projector.linear_1.", alone ? "model.mm_projector." : "model.mm_projector.0."},
        std::pair{"multi_modal_projector.linear_2.", "model.mm_projector.2."}})
    if (name.starts_with(ours)) return theirs + name.substr(std::string_view(ours).size());
  return name;
}

Json original_json(const ModelConfig& config, const std::string& dtype) {
  Json json = llama_json(config.text, dtype);
  json["architectures"] = {"LlavaLlamaForCausalLM"};
  json["model_type"] = "llava_llama";
  json["mm_hidden_size"] = config.vision.hidden_size;
  json["mm_projector_type"] = config.connector.kind;
  json["mm_use_im_patch_token"] = false;
  json["mm_use_im_start_end"] = false;
  json["mm_vision_select_feature"] = config.drop_class_token ? "patch" : "cls_patch";
  json["mm_vision_select_layer"] = config.vision_layer;
  json["use_mm_proj"] = true;
  return json;
}

// The units' tensors of one group, under other prefixes.
std::vector<Exported> group_list(const std::vector<sharding::UnitSpec>& units, const std::string& group,
                                 std::string_view from, const std::string& to) {
  std::vector<Exported> list;
  for (const auto& unit : units)
    for (const auto& tensor : unit.tensors)
      if (unit.group == group) list.push_back({to + tensor.name.substr(from.size()), tensor.name, tensor.shape});
  return list;
}

constexpr const char* kAdapterFile = "adapter_model.safetensors";

// adapter_config.json as PEFT's LoraConfig saves it. `targets`: names, or one pattern for the whole path of a module.
Status write_adapter_json(Env& env, const std::string& folder, const LoraConfig& lora, const Json& targets,
                          const Json& task, const Json& modules_to_save, const std::string& base) {
  Json alpha = lora.alpha;
  if (lora.alpha == std::floor(lora.alpha)) alpha = static_cast<int64_t>(lora.alpha);  // PEFT declares an integer
  Json json = {{"base_model_name_or_path", base.empty() ? Json() : Json(base)},
               {"bias", "none"},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"lora_alpha", alpha},
               {"lora_dropout", 0.0},
               {"modules_to_save", modules_to_save},
               {"peft_type", "LORA"},
               {"r", lora.rank},
               {"target_modules", targets},
               {"task_type", task},
               {"use_dora", false},
               {"use_rslora", false}};
  return write_json(env, folder + "/adapter_config.json", json);
}

}  // namespace

Status export_llava(Env& env, const std::string& folder, const ModelConfig& config, const TensorSource& source,
                    const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(check_config(config, "export to " + folder));
  TEPHRA_ASSIGN_OR_RETURN(std::string dtype, torch_dtype(options.dtype));
  TEPHRA_RETURN_IF_ERROR(env.make_directories(folder));
  // transformers looks the image token up in the embedding before it puts the image's features there, so it needs a row. The
  // head's row for it is that of token 0 (LLaMA's <unk>): it is never more probable than that one.
  ModelConfig written = config;
  written.text.vocab_size = std::max(config.text.vocab_size, config.image_token_index + 1);
  std::vector<Exported> list = whole_list(written, config, source);
  for (Exported& e : list)
    if (written.text.vocab_size > config.text.vocab_size &&
        (e.name == "language_model.model.embed_tokens.weight" || e.name == "language_model.lm_head.weight"))
      e.from = Exported::From::kPadded;
  add_identity_projection(list, config, "multi_modal_projector.");
  TEPHRA_RETURN_IF_ERROR(write_weights(env, folder, std::move(list), source, options));
  TEPHRA_RETURN_IF_ERROR(write_json(env, folder + "/generation_config.json", generation_json(config.text)));
  TEPHRA_RETURN_IF_ERROR(write_preprocessor(env, folder, options, config.vision.image_size));
  TEPHRA_RETURN_IF_ERROR(
      write_json(env, folder + "/processor_config.json",
                 {{"image_token", "<image>"},
                  {"num_additional_image_tokens", 1},
                  {"patch_size", config.vision.patch_size},
                  {"processor_class", "LlavaProcessor"},
                  {"vision_feature_select_strategy", config.drop_class_token ? "default" : "full"}}));
  TEPHRA_RETURN_IF_ERROR(copy_tokenizer(env, options.tokenizer_folder, folder));
  if (!options.tokenizer_folder.empty()) TEPHRA_RETURN_IF_ERROR(add_image_token(env, folder, config.image_token_index));
  return write_json(env, folder + "/config.json", llava_json(written, dtype));  // last: a folder with it is whole
}

Status export_original(Env& env, const std::string& folder, const ModelConfig& config, const TensorSource& source,
                       const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(check_config(config, "export to " + folder));
  TEPHRA_ASSIGN_OR_RETURN(std::string dtype, torch_dtype(options.dtype));
  const std::string tower = folder + "/vision_tower";
  TEPHRA_RETURN_IF_ERROR(env.make_directories(tower));
  std::vector<Exported> vision, language;
  for (Exported& e : whole_list(config, config, source)) {
    if (e.name.starts_with("vision_tower.")) {
      e.name.erase(0, std::string_view("vision_tower.").size());
      vision.push_back(std::move(e));
      continue;
    }
    if (e.name.starts_with("language_model.")) e.name.erase(0, std::string_view("language_model.").size());
    e.name = original_connector_name(e.name, config);
    language.push_back(std::move(e));
  }
  TEPHRA_RETURN_IF_ERROR(write_weights(env, tower, std::move(vision), source, options));
  TEPHRA_RETURN_IF_ERROR(write_preprocessor(env, tower, options, config.vision.image_size));
  Json tower_json = vision_json(config.vision, 512);
  tower_json["architectures"] = {"CLIPVisionModel"};
  tower_json["torch_dtype"] = dtype;
  TEPHRA_RETURN_IF_ERROR(write_json(env, tower + "/config.json", tower_json));
  TEPHRA_RETURN_IF_ERROR(write_weights(env, folder, std::move(language), source, options));
  TEPHRA_RETURN_IF_ERROR(write_json(env, folder + "/generation_config.json", generation_json(config.text)));
  TEPHRA_RETURN_IF_ERROR(copy_tokenizer(env, options.tokenizer_folder, folder));
  Json json = original_json(config, dtype);
  json["mm_vision_tower"] = "vision_tower";
  return write_json(env, folder + "/config.json", json);
}

Status export_llava_adapters(Env& env, const std::string& folder, const ModelConfig& config, const LoraConfig& lora,
                             const TensorSource& source, const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(torch_dtype(options.dtype).status());
  TEPHRA_RETURN_IF_ERROR(env.make_directories(folder));
  const auto units = make_units(config, {}, lora);
  const std::string connector = "multi_modal_projector.", prefix = "base_model.model.model.";
  std::vector<Exported> list = group_list(units, "lora", "language_model.model.", prefix + "language_model.");
  for (Exported& e : group_list(units, "connector", connector, prefix + connector)) list.push_back(std::move(e));
  add_identity_projection(list, config, prefix + connector);
  TEPHRA_RETURN_IF_ERROR(write_weights(env, folder, std::move(list), source, options, kAdapterFile));
  // A pattern, because CLIP's projections have the same names.
  std::string targets;
  for (const std::string& target : lora.targets) targets += (targets.empty() ? "" : "|") + target;
  return write_adapter_json(env, folder, lora, ".*language_model.*\\.(" + targets + ")", nullptr,
                            Json::array({"multi_modal_projector"}), options.base_model);
}

Status export_llama_adapters(Env& env, const std::string& folder, const LlamaConfig& config, const LoraConfig& lora,
                             const TensorSource& source, const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(torch_dtype(options.dtype).status());
  TEPHRA_RETURN_IF_ERROR(env.make_directories(folder));
  TEPHRA_RETURN_IF_ERROR(write_weights(
      env, folder, group_list(make_lm_units(config, {}, lora), "lora", "language_model.", "base_model.model."), source,
      options, kAdapterFile));
  return write_adapter_json(env, folder, lora, lora.targets, "CAUSAL_LM", nullptr, options.base_model);
}

Status export_connector(Env& env, const std::string& folder, const ModelConfig& config, const TensorSource& source,
                        const ExportOptions& options) {
  TEPHRA_ASSIGN_OR_RETURN(std::string dtype, torch_dtype(options.dtype));
  TEPHRA_RETURN_IF_ERROR(env.make_directories(folder));
  std::vector<Exported> connector = group_list(make_units(config, {}), "connector", "", "");
  for (Exported& e : connector) e.name = original_connector_name(e.name, config);
  TEPHRA_RETURN_IF_ERROR(write_weights(env, folder, std::move(connector), source, options, "mm_projector.safetensors"));
  return write_json(env, folder + "/config.json", original_json(config, dtype));
}

Status export_original_adapters(Env& env, const std::string& folder, const ModelConfig& config, const LoraConfig& lora,
                                const TensorSource& source, const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(export_connector(env, folder, config, source, options));
  return export_llama_adapters(env, folder, config.text, lora, source, options);
}

Status export_llama(Env& env, const std::string& folder, const LlamaConfig& config, const TensorSource& source,
                    const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(check_config(config, "export to " + folder));
  TEPHRA_ASSIGN_OR_RETURN(std::string dtype, torch_dtype(options.dtype));
  TEPHRA_RETURN_IF_ERROR(env.make_directories(folder));
  TEPHRA_RETURN_IF_ERROR(
      write_weights(env, folder, export_list(make_lm_units(config, {}), "language_model."), source, options));
  TEPHRA_RETURN_IF_ERROR(write_json(env, folder + "/generation_config.json", generation_json(config)));
  TEPHRA_RETURN_IF_ERROR(copy_tokenizer(env, options.tokenizer_folder, folder));
  return write_json(env, folder + "/config.json", llama_json(config, dtype));
}

Status export_clip(Env& env, const std::string& folder, const ClipConfig& config, const TensorSource& source,
                   const ExportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(check_config(config, "export to " + folder));
  TEPHRA_ASSIGN_OR_RETURN(std::string dtype, torch_dtype(options.dtype));
  TEPHRA_RETURN_IF_ERROR(env.make_directories(folder));
  TEPHRA_RETURN_IF_ERROR(
      write_weights(env, folder, export_list(make_clip_units(config, {}), "vision_tower."), source, options));
  TEPHRA_RETURN_IF_ERROR(write_preprocessor(env, folder, options, config.vision.image_size));
  TEPHRA_RETURN_IF_ERROR(copy_tokenizer(env, options.tokenizer_folder, folder));
  return write_json(env, folder + "/config.json",
                    {{"architectures", {"CLIPModel"}},
                     {"logit_scale_init_value", config.logit_scale_init_value},
                     {"model_type", "clip"},
                     {"projection_dim", config.projection_dim},
                     {"text_config", clip_text_json(config.text, config.projection_dim)},
                     {"torch_dtype", dtype},
                     {"vision_config", vision_json(config.vision, config.projection_dim)}});
}

}  // namespace tephra::model
