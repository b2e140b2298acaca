// Weights in Hugging Face folders as a TensorSource with canonical names, and folders written from one.
// Threading: sources are immutable and safe from any thread; they read only the ranges asked for, from mapped files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/diagnostic.h"
#include "base/env.h"
#include "base/status.h"
#include "base/tensor_source.h"
#include "model/spec/lora.h"
#include "model/spec/model_config.h"
#include "sharding/plan/unit.h"

namespace tephra::model {

// Opens a llava-hf folder or the parts (see ModelPaths; each part alone is allowed too). Names become canonical
// whichever layout the files have: llava-hf as published, llava-hf as transformers 5 writes it, or the original
// LLaVA's; position_ids and rotary inv_freq tables are passed over, and in a LLaVA model so is CLIP's text tower.
// kInvalidArgument for a folder without safetensors (a .bin is refused by name), kCorruption as in safetensors.h,
// kAlreadyExists for a tensor given twice. Reading a range that holds a NaN or an infinity is kCorruption, with file, tensor and
// element.
Result<std::unique_ptr<TensorSource>> open_model(const ModelPaths& paths);

// A CLIPModel folder with its text tower and projections, for contrastive training or a round trip.
Result<std::unique_ptr<TensorSource>> open_clip(const std::string& folder);

// Tensors that `units` name and `source` lacks, or has with another shape or as integers; tensors of `source` that no unit names,
// unless the model merely does not reach them (vision layers past vision_layer, post_layernorm). `where` stands in the
// file field. allow_missing: groups whose tensors may be absent because they will be initialised.
std::vector<Diagnostic> check_against_units(const TensorSource& source, const std::vector<sharding::UnitSpec>& units,
                                            const std::string& where,
                                            const std::vector<std::string>& allow_missing = {});

// Elements [begin, begin + count) of the tensor's initial value: a pure function of (seed, name, element), whatever the
// world size. By name and shape: *norm*.weight 1; *.bias 0; *.lora_B.weight 0, so that adapters start without effect;
// logit_scale 2.6592; matrices (lora_A among them, as PEFT draws it) and the patch convolution uniform in +-1/sqrt(fan_in)
// (the default of torch.nn.Linear and Conv2d, which fits any width); embedding tables normal with deviation 0.02, but the
// vision tower's position table with 1 (the default of torch.nn.Embedding): beside embedded patches, which are of that
// size, 0.02 is so little that a patch's features hardly tell where it is.
void init_tensor(const std::string& name, const Shape& shape, uint64_t seed, int64_t begin, int64_t count, float* out);

// `base` (may be null) with the tensors that `units` name and it lacks added at their initial values.
std::unique_ptr<TensorSource> with_initial_values(std::unique_ptr<TensorSource> base,
                                                  const std::vector<sharding::UnitSpec>& units, uint64_t seed);

struct ExportOptions {
  std::string tokenizer_folder{};  // tokenizer files are copied from here; "" copies none
  std::string image_folder{};  // preprocessor_config.json is copied from here if it has one; else CLIP's own is written
  std::string base_model{};  // adapters: base_model_name_or_path, where the model that they go onto lies; may be empty
  DType dtype = DType::kFloat32;  // F32, BF16 or F16
  int64_t max_shard_bytes = int64_t{5} << 30;
};

// Writes a folder that transformers loads as LlavaForConditionalGeneration: config.json, generation_config.json,
// preprocessor_config.json, tokenizer files, sharded safetensors with their index. The folder is made; files in it are
// replaced. The vocabulary is padded where the image token lies behind it. Vision tensors that the source lacks because the model does not reach them are initialised, so that every
// key is present.
Status export_llava(Env& env, const std::string& folder, const ModelConfig& config, const TensorSource& source,
                    const ExportOptions& options);
// Writes the original LLaVA's layout: the language model with the connector among its tensors (model.mm_projector.*) in
// `folder`, its config.json of model_type llava_llama, and the vision tower, a CLIPVisionModel, in `folder`/vision_tower, which
// mm_vision_tower names. open_model() reads it as {vision: folder/vision_tower, connector: folder, llm: folder}.
Status export_original(Env& env, const std::string& folder, const ModelConfig& config, const TensorSource& source,
                       const ExportOptions& options);
// The adapters of `source`, not merged, as adapter_config.json and adapter_model.safetensors, which
// peft.PeftModel.from_pretrained reads. Onto a LlavaForConditionalGeneration with the same frozen weights: the trained connector is in
// the same file, and PEFT puts it in place (modules_to_save).
Status export_llava_adapters(Env& env, const std::string& folder, const ModelConfig& config, const LoraConfig& lora,
                             const TensorSource& source, const ExportOptions& options);
// Onto the LlamaForCausalLM that was trained.
Status export_llama_adapters(Env& env, const std::string& folder, const LlamaConfig& config, const LoraConfig& lora,
                             const TensorSource& source, const ExportOptions& options);
// The same of a LLaVA model, with the connector beside it as mm_projector.safetensors and the original's config.json.
Status export_original_adapters(Env& env, const std::string& folder, const ModelConfig& config, const LoraConfig& lora,
                                const TensorSource& source, const ExportOptions& options);
// The connector alone, as LLaVA's own training leaves it: mm_projector.safetensors with model.mm_projector.* and the
// original's config.json, which find_connector_files() and LLaVA's loaders read. Reads no other tensor of `source`.
Status export_connector(Env& env, const std::string& folder, const ModelConfig& config, const TensorSource& source,
                        const ExportOptions& options);
// A LlamaForCausalLM folder, from canonical language_model.* tensors.
Status export_llama(Env& env, const std::string& folder, const LlamaConfig& config, const TensorSource& source,
                    const ExportOptions& options);
// A CLIPModel folder with both towers.
Status export_clip(Env& env, const std::string& folder, const ClipConfig& config, const TensorSource& source,
                   const ExportOptions& options);

}  // namespace tephra::model
