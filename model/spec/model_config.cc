#include "model/spec/model_config.h"

#include <cmath>
#include <vector>

#include "base/env.h"
#include "model/spec/connector_file.h"
#include "model/spec/json_reader.h"

namespace tephra::model {
namespace {

Result<JsonReader> open_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (Env::posix().exists(path)) return JsonReader::open(path);
  return Status(Code::kNotFound,
                (Env::posix().exists(folder) ? path : folder) +
                    " does not exist; name a model's folder, as transformers' save_pretrained or tephra "
                    "ckpt export writes it, with a config.json in it");
}

Status invalid(const std::string& where, const std::string& what) {
  return {Code::kInvalidArgument, where + ": " + what};
}

Status check_positive(const std::string& where, std::initializer_list<std::pair<const char*, int64_t>> fields) {
  for (const auto& [name, value] : fields)
    if (value <= 0 || value > (int64_t{1} << 31))
      return invalid(where, std::string(name) + " is " + std::to_string(value) + ", not a positive size");
  return ok_status();
}

Status check_activation(const std::string& where, const std::string& act) {
  if (act == "quick_gelu" || act == "gelu") return ok_status();
  return {Code::kUnsupported, where + ": hidden_act is '" + act + "'; a CLIP tower's is quick_gelu or gelu here"};
}

Result<ClipVisionConfig> read_vision(JsonReader json) {
  ClipVisionConfig config;
  std::string type = "clip_vision_model";
  json.get("model_type", type);
  if (json.status().ok() && type != "clip_vision_model" && type != "clip")
    return Status(Code::kUnsupported,
                  json.error("model_type", "is '" + type + "'; the vision tower is CLIP's here").message());
  int64_t channels = 3;
  json.get("hidden_size", config.hidden_size)
      .get("intermediate_size", config.intermediate_size)
      .get("num_hidden_layers", config.num_layers)
      .get("num_attention_heads", config.num_heads)
      .get("image_size", config.image_size)
      .get("patch_size", config.patch_size)
      .get("num_channels", channels)
      .get("layer_norm_eps", config.layer_norm_eps)
      .get("hidden_act", config.hidden_act);
  TEPHRA_RETURN_IF_ERROR(json.status());
  if (channels != 3) return json.error("num_channels", "is " + std::to_string(channels) + "; pictures have 3 here");
  TEPHRA_RETURN_IF_ERROR(check_config(config, json.place()));
  return config;
}

Result<ClipTextConfig> read_text(JsonReader json) {
  ClipTextConfig config;
  json.get("vocab_size", config.vocab_size)
      .get("hidden_size", config.hidden_size)
      .get("intermediate_size", config.intermediate_size)
      .get("num_hidden_layers", config.num_layers)
      .get("num_attention_heads", config.num_heads)
      .get("max_position_embeddings", config.max_position_embeddings)
      .get("layer_norm_eps", config.layer_norm_eps)
      .get("hidden_act", config.hidden_act)
      .get("bos_token_id", config.bos_token_id)
      .get("eos_token_id", config.eos_token_id)
      .get("pad_token_id", config.pad_token_id);
  TEPHRA_RETURN_IF_ERROR(json.status());
  return config;
}

Status refuse_unsupported_llama(JsonReader& json) {
  auto unsupported = [&](const char* key, const std::string& what) {
    return Status(Code::kUnsupported, json.error(key, what).message());
  };
  std::string type = "llama", act = "silu";
  bool attention_bias = false, mlp_bias = false;
  json.get("model_type", type).get("hidden_act", act).get("attention_bias", attention_bias).get("mlp_bias", mlp_bias);
  TEPHRA_RETURN_IF_ERROR(json.status());
  if (type != "llama" && type != "llava_llama" && type != "llava")
    return unsupported("model_type", "is '" + type + "'; the language model is LLaMA here");
  if (act != "silu") return unsupported("hidden_act", "is '" + act + "'; LLaMA's is silu here");
  if (attention_bias || mlp_bias)
    return unsupported(attention_bias ? "attention_bias" : "mlp_bias",
                       "is true; projections with a bias are not supported");
  return ok_status();
}

// `rope_scaling`, or `rope_parameters` with the base beside it as transformers 5 writes it.
Status read_rope(const JsonReader& json, LlamaConfig& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    JsonReader rope = json.child(key);
    RopeScaling& scaling = config.rope_scaling;
    rope.get("rope_theta", config.rope_theta)
        .get("type", scaling.kind)
        .get("rope_type", scaling.kind)
        .get("factor", scaling.factor)
        .get("low_freq_factor", scaling.low_freq_factor)
        .get("high_freq_factor", scaling.high_freq_factor)
        .get("original_max_position_embeddings", scaling.original_length);
    TEPHRA_RETURN_IF_ERROR(rope.status());
    if (scaling.kind != "default" && scaling.kind != "linear" && scaling.kind != "llama3")
      return {
          Code::kUnsupported,
          rope.error("rope_type", "is '" + scaling.kind + "'; there are default, linear and llama3 here").message()};
    if (!rope.has("rope_type") && !rope.has("type")) continue;
    std::vector<const char*> needed;
    if (scaling.kind != "default") needed = {"factor"};
    if (scaling.kind == "llama3")
      needed.insert(needed.end(), {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
    for (const char* name : needed)
      if (!rope.has(name)) return rope.error(name, "is missing, and " + scaling.kind + " scaling needs it");
  }
  return ok_status();
}

Result<LlamaConfig> read_llama(JsonReader json) {
  TEPHRA_RETURN_IF_ERROR(json.status());
  TEPHRA_RETURN_IF_ERROR(refuse_unsupported_llama(json));
  LlamaConfig config;
  json.get("hidden_size", config.hidden_size)
      .get("intermediate_size", config.intermediate_size)
      .get("num_hidden_layers", config.num_layers)
      .get("num_attention_heads", config.num_heads)
      .get("vocab_size", config.vocab_size)
      .get("rms_norm_eps", config.rms_norm_eps)
      .get("rope_theta", config.rope_theta)
      .get("max_position_embeddings", config.max_position_embeddings)
      .get("bos_token_id", config.bos_token_id)
      .get("eos_token_id", config.eos_token_id)
      .get("pad_token_id", config.pad_token_id)
      .get("tie_word_embeddings", config.tied_head);
  TEPHRA_RETURN_IF_ERROR(read_rope(json, config));
  config.num_kv_heads = config.num_heads;
  json.get("num_key_value_heads", config.num_kv_heads);
  config.head_dim = config.num_heads > 0 ? config.hidden_size / config.num_heads : 0;
  json.get("head_dim", config.head_dim);
  TEPHRA_RETURN_IF_ERROR(json.status());
  TEPHRA_RETURN_IF_ERROR(check_config(config, json.place()));
  return config;
}

// CLIPModel files keep the towers under vision_config and text_config, or *_dict in the oldest ones.
JsonReader clip_tower(const JsonReader& json, const char* key, const char* old_key) {
  return json.has(key) || !json.has(old_key) ? json.child(key) : json.child(old_key);
}

Result<ModelConfig> load_llava(const std::string& folder) {
  TEPHRA_ASSIGN_OR_RETURN(JsonReader json, open_config(folder));
  std::string type, strategy = "default", act = "gelu";
  int64_t layer = -2;
  ModelConfig config;
  bool bias = true;
  json.get("model_type", type)
      .get("vision_feature_select_strategy", strategy)
      .get("projector_hidden_act", act)
      .get("vision_feature_layer", layer)
      .get("image_token_id", config.image_token_index)
      .get("image_token_index", config.image_token_index)
      .get("multimodal_projector_bias", bias);
  TEPHRA_RETURN_IF_ERROR(json.status());
  if (type != "llava")
    return Status(Code::kUnsupported, json.error("model_type", "is '" + type +
                                                                   "', not 'llava'; for another layout name the parts "
                                                                   "with --vision, --connector and --llm")
                                          .message());
  if (json.json().contains("vision_feature_layer") && json.json()["vision_feature_layer"].is_array() &&
      json.json()["vision_feature_layer"].size() != 1)
    return Status(Code::kUnsupported,
                  json.error("vision_feature_layer", "lists several layers; one is supported").message());
  if (strategy != "default" && strategy != "full")
    return json.error("vision_feature_select_strategy", "is '" + strategy + "', not 'default' or 'full'");
  if (!bias)
    return Status(Code::kUnsupported,
                  json.error("multimodal_projector_bias", "is false; connectors have a bias here").message());
  config.vision_layer = static_cast<int>(layer);
  config.drop_class_token = strategy == "default";
  TEPHRA_ASSIGN_OR_RETURN(config.vision, read_vision(json.child("vision_config")));
  TEPHRA_ASSIGN_OR_RETURN(config.text, read_llama(json.child("text_config")));
  json.get("pad_token_id", config.text.pad_token_id).get("tie_word_embeddings", config.text.tied_head);
  TEPHRA_RETURN_IF_ERROR(json.status());
  // transformers' connector always has two projections; a linear one is exported with the activation "linear" (the
  // identity) and an identity matrix as its second (model_folder.cc, export_llava), which gives the same numbers.
  if (act != "gelu" && act != "linear")
    return Status(Code::kUnsupported,
                  json.error("projector_hidden_act", "is '" + act + "'; the connector's is gelu here").message());
  config.connector = {act == "gelu" ? "mlp2x_gelu" : "linear", config.vision.hidden_size, config.text.hidden_size};
  TEPHRA_RETURN_IF_ERROR(check_config(config, json.path()));
  return config;
}

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

Result<ModelConfig> load_parts(const ModelPaths& paths, const PartsOptions& options) {
  ModelConfig config;
  TEPHRA_ASSIGN_OR_RETURN(config.vision, load_clip_vision_config(paths.vision));
  TEPHRA_ASSIGN_OR_RETURN(config.text, load_llama_config(paths.llm));
  config.image_token_index = config.text.vocab_size;
  config.connector = {options.connector_kind, config.vision.hidden_size, config.text.hidden_size};
  std::string where = paths.llm;
  if (!paths.connector.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(const auto files, find_connector_files(paths.connector));
    TEPHRA_ASSIGN_OR_RETURN(ConnectorConfig found, read_connector_config(files));
    const std::string& path = files.front();
    if (!options.connector_kind.empty() && options.connector_kind != found.kind)
      return invalid(path, "holds a " + found.kind + " connector, and " + options.connector_kind + " was asked for");
    config.connector = found;
    where = path;
    auto json = JsonReader::open(folder_of(path) + "/config.json");
    if (json.ok()) {
      int64_t layer = config.vision_layer;
      std::string feature = "patch";
      json->get("mm_vision_select_layer", layer).get("mm_vision_select_feature", feature);
      TEPHRA_RETURN_IF_ERROR(json->status());
      config.vision_layer = static_cast<int>(layer);
      if (feature != "patch" && feature != "cls_patch")
        return json->error("mm_vision_select_feature", "is '" + feature + "', not 'patch' or 'cls_patch'");
      config.drop_class_token = feature == "patch";
    }
  } else if (options.connector_kind.empty()) {
    return Status(Code::kInvalidArgument,
                  "no connector file and no connector kind is given; name the file, or the kind to initialise "
                  "(linear or mlp2x_gelu)");
  }
  if (options.vision_layer) config.vision_layer = *options.vision_layer;
  TEPHRA_RETURN_IF_ERROR(check_config(config, where));
  return config;
}

}  // namespace

Result<ClipVisionConfig> load_clip_vision_config(const std::string& folder) {
  TEPHRA_ASSIGN_OR_RETURN(JsonReader json, open_config(folder));
  if (json.has("vision_config") || json.has("vision_config_dict"))
    return read_vision(clip_tower(json, "vision_config", "vision_config_dict"));
  return read_vision(std::move(json));
}

Result<ClipConfig> load_clip_config(const std::string& folder) {
  TEPHRA_ASSIGN_OR_RETURN(JsonReader json, open_config(folder));
  if (!json.has("text_config") && !json.has("text_config_dict"))
    return json.error("text_config", "is missing; contrastive training needs a CLIPModel folder with both towers");
  ClipConfig config;
  TEPHRA_ASSIGN_OR_RETURN(config.vision, read_vision(clip_tower(json, "vision_config", "vision_config_dict")));
  TEPHRA_ASSIGN_OR_RETURN(config.text, read_text(clip_tower(json, "text_config", "text_config_dict")));
  json.get("projection_dim", config.projection_dim).get("logit_scale_init_value", config.logit_scale_init_value);
  TEPHRA_RETURN_IF_ERROR(json.status());
  TEPHRA_RETURN_IF_ERROR(check_config(config, json.path()));
  return config;
}

Result<LlamaConfig> load_llama_config(const std::string& folder) {
  TEPHRA_ASSIGN_OR_RETURN(JsonReader json, open_config(folder));
  return read_llama(std::move(json));
}

Result<ModelConfig> load_model_config(const ModelPaths& paths, const PartsOptions& options) {
  if (!paths.model.empty()) return load_llava(paths.model);
  if (paths.vision.empty() || paths.llm.empty())
    return Status(Code::kInvalidArgument,
                  "a model is a llava-hf folder, or a vision folder and a language model folder; name both parts");
  return load_parts(paths, options);
}

Status check_config(const ClipVisionConfig& c, const std::string& where) {
  TEPHRA_RETURN_IF_ERROR(check_positive(where, {{"hidden_size", c.hidden_size},
                                                {"intermediate_size", c.intermediate_size},
                                                {"num_hidden_layers", c.num_layers},
                                                {"num_attention_heads", c.num_heads},
                                                {"image_size", c.image_size},
                                                {"patch_size", c.patch_size}}));
  if (c.hidden_size % c.num_heads != 0)
    return invalid(where, "hidden_size " + std::to_string(c.hidden_size) +
                              " is not a multiple of num_attention_heads " + std::to_string(c.num_heads));
  if (c.patch_size > c.image_size)
    return invalid(where, "patch_size " + std::to_string(c.patch_size) + " is larger than image_size " +
                              std::to_string(c.image_size));
  return check_activation(where, c.hidden_act);
}

Status check_config(const ClipConfig& c, const std::string& where) {
  TEPHRA_RETURN_IF_ERROR(check_config(c.vision, where + ": vision_config"));
  const ClipTextConfig& t = c.text;
  const std::string text = where + ": text_config";
  TEPHRA_RETURN_IF_ERROR(check_positive(text, {{"vocab_size", t.vocab_size},
                                               {"hidden_size", t.hidden_size},
                                               {"intermediate_size", t.intermediate_size},
                                               {"num_hidden_layers", t.num_layers},
                                               {"num_attention_heads", t.num_heads},
                                               {"max_position_embeddings", t.max_position_embeddings}}));
  if (t.hidden_size % t.num_heads != 0)
    return invalid(text, "hidden_size " + std::to_string(t.hidden_size) + " is not a multiple of num_attention_heads " +
                             std::to_string(t.num_heads));
  TEPHRA_RETURN_IF_ERROR(check_positive(where, {{"projection_dim", c.projection_dim}}));
  return check_activation(text, t.hidden_act);
}

Status check_config(const LlamaConfig& c, const std::string& where) {
  TEPHRA_RETURN_IF_ERROR(check_positive(where, {{"hidden_size", c.hidden_size},
                                                {"intermediate_size", c.intermediate_size},
                                                {"num_hidden_layers", c.num_layers},
                                                {"num_attention_heads", c.num_heads},
                                                {"num_key_value_heads", c.num_kv_heads},
                                                {"head_dim", c.head_dim},
                                                {"vocab_size", c.vocab_size},
                                                {"max_position_embeddings", c.max_position_embeddings}}));
  if (c.num_heads % c.num_kv_heads != 0)
    return invalid(where, "num_attention_heads " + std::to_string(c.num_heads) +
                              " is not a multiple of num_key_value_heads " + std::to_string(c.num_kv_heads));
  if (c.head_dim % 2 != 0)
    return invalid(where, "head_dim " + std::to_string(c.head_dim) + " is odd; rotary positions need an even one");
  if (!(c.rope_theta > 0) || !(c.rms_norm_eps > 0))
    return invalid(where, "rope_theta and rms_norm_eps must be above 0");
  const RopeScaling& rope = c.rope_scaling;
  if (!(rope.factor >= 1) || !(rope.low_freq_factor > 0) || !(rope.high_freq_factor > rope.low_freq_factor) ||
      rope.original_length < 1)
    return invalid(where,
                   "rope scaling needs a factor of at least 1, 0 < low_freq_factor < high_freq_factor, and a "
                   "positive original_max_position_embeddings");
  return ok_status();
}

Status check_config(const ModelConfig& c, const std::string& where) {
  TEPHRA_RETURN_IF_ERROR(check_config(c.vision, where));
  TEPHRA_RETURN_IF_ERROR(check_config(c.text, where));
  if (c.connector.kind != "linear" && c.connector.kind != "mlp2x_gelu")
    return Status(Code::kUnsupported,
                  where + ": connector kind '" + c.connector.kind + "' is not linear or mlp2x_gelu");
  if (c.connector.in != c.vision.hidden_size || c.connector.out != c.text.hidden_size)
    return invalid(where, "the connector maps width " + std::to_string(c.connector.in) + " to " +
                              std::to_string(c.connector.out) + ", and the vision tower's is " +
                              std::to_string(c.vision.hidden_size) + ", the language model's " +
                              std::to_string(c.text.hidden_size) + "; use parts of one model");
  if (c.vision_layer > c.vision.num_layers || c.vision_layer < -c.vision.num_layers - 1)
    return invalid(where, "vision layer " + std::to_string(c.vision_layer) + " does not exist in a tower of " +
                              std::to_string(c.vision.num_layers) + " layers");
  return ok_status();
}

}  // namespace tephra::model
