#include "model/spec/units.h"

#include <algorithm>
#include <iterator>

namespace tephra::model {
namespace {

using sharding::TensorSpec;
using sharding::UnitSpec;

TensorSpec tensor(std::string name, Shape shape) { return {std::move(name), std::move(shape), 0}; }

void add_linear(UnitSpec& unit, const std::string& name, int64_t out, int64_t in) {
  unit.tensors.push_back(tensor(name + ".weight", {out, in}));
  unit.tensors.push_back(tensor(name + ".bias", {out}));
}

void add_norm(UnitSpec& unit, const std::string& name, int64_t width) {
  unit.tensors.push_back(tensor(name + ".weight", {width}));
  unit.tensors.push_back(tensor(name + ".bias", {width}));
}

UnitSpec make_unit(std::string name, std::string group, const std::set<std::string>& trainable) {
  UnitSpec unit;
  unit.trainable = trainable.contains(group);
  unit.name = std::move(name);
  unit.group = std::move(group);
  return unit;
}

// Costs are set for one position of the tower and scaled: positions per token of the micro-batch.
void scale_costs(UnitSpec& unit, double positions) {
  unit.macs_per_token *= positions;
  unit.activation_per_token *= positions;
  unit.working_per_token *= positions;
  unit.output_per_token *= positions;
}

UnitSpec clip_block(const std::string& unit_name, const std::string& group, const std::string& prefix, int64_t width,
                    int64_t inner, double context, const std::set<std::string>& trainable) {
  UnitSpec unit = make_unit(unit_name, group, trainable);
  add_norm(unit, prefix + "layer_norm1", width);
  for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"})
    add_linear(unit, prefix + "self_attn." + name, width, width);
  add_norm(unit, prefix + "layer_norm2", width);
  add_linear(unit, prefix + "mlp.fc1", inner, width);
  add_linear(unit, prefix + "mlp.fc2", width, inner);
  const double d = static_cast<double>(width), m = static_cast<double>(inner);
  unit.macs_per_token = 4 * d * d + 2 * d * m + 2 * context * d;
  unit.activation_per_token = 8 * d + 3 * m;  // two norms, q, k, v, attention, two residuals; quick_gelu keeps three
  unit.working_per_token = d + 2 * m;
  unit.output_per_token = d;
  return unit;
}

UnitSpec vision_embed(const ClipVisionConfig& c, const std::set<std::string>& trainable) {
  const std::string prefix = "vision_tower.vision_model.";
  UnitSpec unit = make_unit("vision.embed", "vision", trainable);
  unit.tensors = {tensor(prefix + "embeddings.class_embedding", {c.hidden_size}),
                  tensor(prefix + "embeddings.patch_embedding.weight", {c.hidden_size, 3, c.patch_size, c.patch_size}),
                  tensor(prefix + "embeddings.position_embedding.weight", {c.patches() + 1, c.hidden_size})};
  add_norm(unit, prefix + "pre_layrnorm", c.hidden_size);
  const double pixels = 3.0 * static_cast<double>(c.patch_size * c.patch_size);
  unit.macs_per_token = pixels * static_cast<double>(c.hidden_size);
  unit.activation_per_token = pixels + 2.0 * static_cast<double>(c.hidden_size);
  unit.output_per_token = static_cast<double>(c.hidden_size);
  return unit;
}

void add_vision(std::vector<UnitSpec>& units, const ClipVisionConfig& c, int64_t layers, double positions_per_token,
                const std::set<std::string>& trainable) {
  units.push_back(vision_embed(c, trainable));
  for (int64_t i = 0; i < layers; ++i)
    units.push_back(clip_block("vision.block." + std::to_string(i), "vision",
                               "vision_tower.vision_model.encoder.layers." + std::to_string(i) + ".", c.hidden_size,
                               c.intermediate_size, static_cast<double>(c.patches() + 1), trainable));
  for (size_t i = units.size() - static_cast<size_t>(layers) - 1; i < units.size(); ++i)
    scale_costs(units[i], positions_per_token);
}

UnitSpec connector_unit(const ModelConfig& config, const std::set<std::string>& trainable) {
  const ConnectorConfig& c = config.connector;
  UnitSpec unit = make_unit("connector", "connector", trainable);
  add_linear(unit, "multi_modal_projector.linear_1", c.out, c.in);
  const double in = static_cast<double>(c.in), out = static_cast<double>(c.out);
  unit.macs_per_token = in * out;
  unit.activation_per_token = in + out;
  if (c.kind == "mlp2x_gelu") {
    add_linear(unit, "multi_modal_projector.linear_2", c.out, c.out);
    unit.macs_per_token += out * out;
    unit.activation_per_token += 2 * out;
  }
  unit.output_per_token = out;
  return unit;
}

// adapted: adapters stand beside its weights, whose gradients need the same inputs as those of the weights would.
UnitSpec llama_block(const LlamaConfig& c, int64_t index, const std::set<std::string>& trainable, bool adapted) {
  const std::string name = std::to_string(index), prefix = "language_model.model.layers." + name + ".";
  const int64_t q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim;
  UnitSpec unit = make_unit("llm.block." + name, "llm", trainable);
  unit.tensors = {tensor(prefix + "input_layernorm.weight", {c.hidden_size}),
                  tensor(prefix + "self_attn.q_proj.weight", {q, c.hidden_size}),
                  tensor(prefix + "self_attn.k_proj.weight", {kv, c.hidden_size}),
                  tensor(prefix + "self_attn.v_proj.weight", {kv, c.hidden_size}),
                  tensor(prefix + "self_attn.o_proj.weight", {c.hidden_size, q}),
                  tensor(prefix + "post_attention_layernorm.weight", {c.hidden_size}),
                  tensor(prefix + "mlp.gate_proj.weight", {c.intermediate_size, c.hidden_size}),
                  tensor(prefix + "mlp.up_proj.weight", {c.intermediate_size, c.hidden_size}),
                  tensor(prefix + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size})};
  const double d = static_cast<double>(c.hidden_size), m = static_cast<double>(c.intermediate_size);
  const double dq = static_cast<double>(q), dkv = static_cast<double>(kv);
  unit.macs_per_token = 2 * d * dq + 2 * d * dkv + 3 * d * m;
  unit.attention_macs = dq;  // causal: half of the scores' and the values'
  // What autograd keeps of model/nn's llama_block (counted by tests/worker/plan_memory_test.cc): both residuals, rotated
  // q and k (k and v for every head where heads share them), attention, gate, up. Where the weights learn, also their
  // inputs that these are not: both norms and the gate's product.
  unit.activation_per_token = 2 * d + 2 * dq + 2 * (q == kv ? dkv : dq) + 2 * m;
  if (unit.trainable || adapted) unit.activation_per_token += 2 * d + m;
  unit.working_per_token = d + 3 * m;  // gradients of the output, the product and both factors
  unit.output_per_token = d;
  return unit;
}

// Adapters of all `blocks`, whose own costs grow by what stands between A and B.
UnitSpec lora_unit(std::vector<UnitSpec>& blocks, const LoraConfig& lora, bool trainable) {
  UnitSpec unit = make_unit("llm.lora", "lora", {});
  unit.output_per_token = blocks.front().output_per_token;
  unit.trainable = trainable;
  for (UnitSpec& block : blocks)
    for (const auto& [target, place] : kLoraTargets) {
      if (std::find(lora.targets.begin(), lora.targets.end(), target) == lora.targets.end()) continue;
      const TensorSpec& weight = block.tensors[place];
      unit.tensors.push_back(tensor(lora_name(weight.name, 'A'), {lora.rank, weight.shape[1]}));
      unit.tensors.push_back(tensor(lora_name(weight.name, 'B'), {weight.shape[0], lora.rank}));
      unit.macs_per_token += static_cast<double>(lora.rank * (weight.shape[0] + weight.shape[1]));
      block.activation_per_token += 2 * static_cast<double>(lora.rank);  // before and after the scale
    }
  for (const TensorSpec& t : unit.tensors) unit.activation_fixed += static_cast<double>(numel(t.shape));
  return unit;
}

void add_llm(std::vector<UnitSpec>& units, const LlamaConfig& c, std::set<std::string> trainable,
             const std::optional<LoraConfig>& lora) {
  const bool learns = trainable.contains("llm");
  if (lora) trainable.erase("llm");
  const double d = static_cast<double>(c.hidden_size), v = static_cast<double>(c.vocab_size);
  UnitSpec embed = make_unit("llm.embed", "llm", trainable);
  embed.tensors = {tensor("language_model.model.embed_tokens.weight", {c.vocab_size, c.hidden_size})};
  embed.activation_per_token = embed.output_per_token = d;
  if (c.tied_head) embed.activation_fixed = d * v;
  units.push_back(std::move(embed));
  std::vector<UnitSpec> blocks;
  for (int64_t i = 0; i < c.num_layers; ++i) blocks.push_back(llama_block(c, i, trainable, lora.has_value()));
  if (lora) units.push_back(lora_unit(blocks, *lora, learns));
  std::move(blocks.begin(), blocks.end(), std::back_inserter(units));
  UnitSpec head = make_unit("llm.head", "llm", trainable);
  head.tensors = {tensor("language_model.model.norm.weight", {c.hidden_size})};
  if (!c.tied_head) head.tensors.push_back(tensor("language_model.lm_head.weight", {c.vocab_size, c.hidden_size}));
  head.tokens = sharding::TokenKind::kText;
  head.macs_per_token = d * v;
  head.activation_per_token = 2 * d;  // the supervised rows and their norm
  head.working_per_token = v;         // logits, which become their own gradient
  head.working_most = static_cast<double>(kLogitsAtOnce);
  units.push_back(std::move(head));
}

void add_text_tower(std::vector<UnitSpec>& units, const ClipConfig& config, const std::set<std::string>& trainable) {
  const ClipTextConfig& c = config.text;
  const double d = static_cast<double>(c.hidden_size), length = static_cast<double>(c.max_position_embeddings);
  UnitSpec embed = make_unit("text.embed", "text", trainable);
  embed.tensors = {
      tensor("text_model.embeddings.token_embedding.weight", {c.vocab_size, c.hidden_size}),
      tensor("text_model.embeddings.position_embedding.weight", {c.max_position_embeddings, c.hidden_size})};
  embed.activation_per_token = 2 * d * length;
  embed.output_per_token = d * length;
  units.push_back(std::move(embed));
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const std::string name = std::to_string(i);
    units.push_back(clip_block("text.block." + name, "text", "text_model.encoder.layers." + name + ".", c.hidden_size,
                               c.intermediate_size, length / 2, trainable));
    scale_costs(units.back(), length);
  }
  UnitSpec head = make_unit("text.head", "text", trainable);
  add_norm(head, "text_model.final_layer_norm", c.hidden_size);
  head.tensors.push_back(tensor("text_projection.weight", {config.projection_dim, c.hidden_size}));
  head.tensors.push_back(tensor("logit_scale", {}));
  head.macs_per_token = d * static_cast<double>(config.projection_dim);
  head.activation_per_token = 2 * d + 3.0 * static_cast<double>(config.projection_dim);
  units.push_back(std::move(head));
}

}  // namespace

std::vector<UnitSpec> make_units(const ModelConfig& config, const std::set<std::string>& trainable,
                                 const std::optional<LoraConfig>& lora) {
  std::vector<UnitSpec> units;
  const double patches = static_cast<double>(config.vision.patches());
  add_vision(units, config.vision, config.vision_layers_used(), (patches + 1) / patches, trainable);
  units.push_back(connector_unit(config, trainable));
  for (UnitSpec& unit : units) unit.tokens = sharding::TokenKind::kImage;
  add_llm(units, config.text, trainable, lora);
  sharding::layout(units);
  return units;
}

std::vector<UnitSpec> make_clip_units(const ClipConfig& config, const std::set<std::string>& trainable) {
  std::vector<UnitSpec> units;
  const int64_t width = config.vision.hidden_size;
  add_vision(units, config.vision, config.vision.num_layers, static_cast<double>(config.vision.patches() + 1),
             trainable);
  UnitSpec head = make_unit("vision.head", "vision", trainable);
  add_norm(head, "vision_tower.vision_model.post_layernorm", width);
  head.tensors.push_back(tensor("visual_projection.weight", {config.projection_dim, width}));
  head.macs_per_token = static_cast<double>(width * config.projection_dim);
  head.activation_per_token = static_cast<double>(2 * width + 2 * config.projection_dim);
  head.output_per_token = static_cast<double>(config.projection_dim);
  units.push_back(std::move(head));
  add_text_tower(units, config, trainable);
  sharding::layout(units);
  return units;
}

std::vector<UnitSpec> make_lm_units(const LlamaConfig& config, const std::set<std::string>& trainable,
                                    const std::optional<LoraConfig>& lora) {
  std::vector<UnitSpec> units;
  add_llm(units, config, trainable, lora);
  sharding::layout(units);
  return units;
}

void set_compute_dtypes(std::vector<UnitSpec>& units, const std::map<std::string, DType>& by_group) {
  for (UnitSpec& unit : units)
    if (const auto found = by_group.find(unit.group); found != by_group.end()) unit.compute_dtype = found->second;
}

}  // namespace tephra::model
