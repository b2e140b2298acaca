#include "model/spec/model_folder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/random.h"
#include "model/spec/connector_file.h"
#include "model/spec/json_reader.h"
#include "model/spec/safetensors.h"

namespace tephra::model {
namespace {

bool ends_with(const std::string& text, std::string_view end) { return std::string_view(text).ends_with(end); }

bool is_float(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat64;
}

bool contrastive_only(const std::string& name) {
  return name.starts_with("text_model.") || name == "text_projection.weight" || name == "visual_projection.weight" ||
         name == "logit_scale";
}

// Tensors of several mapped files under their canonical names.
class FolderSource : public TensorSource {
 public:
  using Keep = bool (*)(const std::string& canonical);

  Status add_file(const std::string& path, Keep keep) {
    TEPHRA_ASSIGN_OR_RETURN(auto file, SafetensorsFile::open(path));
    for (const TensorInfo& info : file->tensors()) {
      std::string name = canonical_name(info.name);
      if (name.empty() || !keep(name)) continue;
      TEPHRA_ASSIGN_OR_RETURN(auto bytes, file->bytes(info.name));
      auto [it, added] = places_.try_emplace(name, Place{files_.size(), info.name, bytes});
      if (!added)
        return {Code::kAlreadyExists, path + ": tensor " + info.name + " is also in " +
                                          files_[it->second.file]->path() + " as " + it->second.stored_name +
                                          "; give each part once"};
      tensors_.push_back({name, info.dtype, info.shape});
    }
    files_.push_back(std::move(file));
    return ok_status();
  }

  void remove(const std::string& name) {
    places_.erase(name);
    std::erase_if(tensors_, [&](const TensorInfo& info) { return info.name == name; });
  }

  void sort() {
    std::sort(tensors_.begin(), tensors_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }

  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
    TEPHRA_ASSIGN_OR_RETURN(const std::byte* source, range(name, begin, count));
    Status status = convert_to_float32(source, find(name)->dtype, count, out);
    return status.ok() ? status : status.with_context(where(name));
  }

  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    TEPHRA_ASSIGN_OR_RETURN(const std::byte* source, range(name, begin, count));
    if (count > 0) std::memcpy(out, source, static_cast<size_t>(count * size_bytes(find(name)->dtype)));
    return ok_status();
  }

 private:
  struct Place {
    size_t file;
    std::string stored_name;
    std::span<const std::byte> bytes;
  };

  std::string where(const std::string& name) const {
    const Place& place = places_.at(name);
    return files_[place.file]->path() + ": tensor " + place.stored_name;
  }

  Result<const std::byte*> range(const std::string& name, int64_t begin, int64_t count) const {
    const TensorInfo* info = find(name);
    if (info == nullptr)
      return Status(Code::kNotFound, (files_.empty() ? std::string("no file") : files_.front()->path()) +
                                         " and the files beside it hold no tensor " + name);
    if (begin < 0 || count < 0 || begin > numel(info->shape) - count)
      return Status(Code::kInvalidArgument, where(name) + ": elements " + std::to_string(begin) + " to " +
                                                std::to_string(begin + count) + " lie outside its shape " +
                                                to_string(info->shape));
    const std::byte* bytes = places_.at(name).bytes.data() + begin * size_bytes(info->dtype);
    if (const int64_t bad = first_not_finite(bytes, info->dtype, count); bad >= 0)
      return Status(Code::kCorruption, where(name) + ": element " + std::to_string(begin + bad) +
                                           " is not a finite number (NaN or infinity); get the file again");
    return bytes;
  }

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place> places_;
  std::vector<TensorInfo> tensors_;
};

Status no_safetensors(const std::string& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names)
    if (ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth"))
      return {Code::kUnsupported, folder + "/" + name +
                                      " is a torch.save file, which can run code when it is read, so it is not; "
                                      "convert the folder to safetensors"};
  return {Code::kInvalidArgument,
          folder + " holds no model.safetensors and no model.safetensors.index.json; name a folder with weights"};
}

// The weight files of a folder: those of its index, or model.safetensors, or the only .safetensors file there.
Result<std::vector<std::string>> weight_files(const std::string& folder) {
  Env& env = Env::posix();
  if (!env.exists(folder)) return Status(Code::kNotFound, folder + " does not exist; name a folder with weights");
  const std::string index = folder + "/model.safetensors.index.json";
  if (env.exists(index)) {
    TEPHRA_ASSIGN_OR_RETURN(JsonReader json, JsonReader::open(index));
    JsonReader map = json.child("weight_map");
    TEPHRA_RETURN_IF_ERROR(map.status());
    std::set<std::string> files;
    for (const auto& [tensor, file] : map.json().items()) {
      std::string name = file.is_string() ? file.get<std::string>() : "";
      if (name.empty() || name.find('/') != std::string::npos)
        return map.error(tensor, "does not name a file of this folder");
      files.insert(name);
    }
    if (files.empty()) return json.error("weight_map", "is missing or empty");
    std::vector<std::string> paths;
    for (const std::string& name : files) {
      if (!env.exists(folder + "/" + name))
        return Status(Code::kNotFound,
                      folder + "/" + name + " is missing, and the index beside it names it; copy the folder again");
      paths.push_back(folder + "/" + name);
    }
    return paths;
  }
  if (env.exists(folder + "/model.safetensors")) return std::vector<std::string>{folder + "/model.safetensors"};
  TEPHRA_ASSIGN_OR_RETURN(auto names, env.list(folder));
  std::vector<std::string> found;
  for (const std::string& name : names)
    if (ends_with(name, ".safetensors")) found.push_back(folder + "/" + name);
  if (found.size() == 1) return found;
  return no_safetensors(folder, names);
}

Status add_folder(FolderSource& source, const std::string& folder, FolderSource::Keep keep) {
  TEPHRA_ASSIGN_OR_RETURN(auto files, weight_files(folder));
  for (const std::string& path : files) TEPHRA_RETURN_IF_ERROR(source.add_file(path, keep));
  return ok_status();
}

// A linear connector that transformers can load has an identity as its second projection (export_llava). Takes it off
// again.
Status drop_identity_projection(FolderSource& source, const std::string& folder) {
  TEPHRA_ASSIGN_OR_RETURN(JsonReader json, JsonReader::open(folder + "/config.json"));
  std::string act = "gelu";
  json.get("projector_hidden_act", act);
  const TensorInfo* weight = source.find("multi_modal_projector.linear_2.weight");
  if (act != "linear" || weight == nullptr) return ok_status();
  const Shape shape = weight->shape;
  Status refused(Code::kUnsupported,
                 folder +
                     ": projector_hidden_act is 'linear' and multi_modal_projector.linear_2 is not an "
                     "identity; such a connector is not supported");
  if (shape.size() != 2 || shape[0] != shape[1]) return refused;
  std::vector<float> row(static_cast<size_t>(shape[1]));
  for (int64_t i = 0; i < shape[0]; ++i) {
    TEPHRA_RETURN_IF_ERROR(source.read_float32(weight->name, i * shape[1], shape[1], row.data()));
    for (int64_t j = 0; j < shape[1]; ++j)
      if (row[static_cast<size_t>(j)] != (i == j ? 1.0f : 0.0f)) return refused;
  }
  if (const TensorInfo* bias = source.find("multi_modal_projector.linear_2.bias")) {
    row.assign(static_cast<size_t>(numel(bias->shape)), 0.0f);
    TEPHRA_RETURN_IF_ERROR(source.read_float32(bias->name, 0, numel(bias->shape), row.data()));
    if (std::any_of(row.begin(), row.end(), [](float v) { return v != 0.0f; })) return refused;
  }
  source.remove("multi_modal_projector.linear_2.weight");
  source.remove("multi_modal_projector.linear_2.bias");
  return ok_status();
}

// A tied head that is in the files all the same, as some programs save it, has to be the embedding.
Status drop_tied_head(FolderSource& source, const LlamaConfig& config, const std::string& folder) {
  const std::string head = "language_model.lm_head.weight";
  const TensorInfo* weight = source.find(head);
  if (!config.tied_head || weight == nullptr) return ok_status();
  const TensorInfo* embedding = source.find("language_model.model.embed_tokens.weight");
  bool equal = embedding != nullptr && embedding->shape == weight->shape && weight->shape.size() == 2;
  const int64_t width = equal ? weight->shape[1] : 0;
  std::vector<float> ours(static_cast<size_t>(width)), theirs(ours);
  for (int64_t row = 0; equal && row < weight->shape[0]; ++row) {
    TEPHRA_RETURN_IF_ERROR(source.read_float32(head, row * width, width, ours.data()));
    TEPHRA_RETURN_IF_ERROR(source.read_float32(embedding->name, row * width, width, theirs.data()));
    equal = ours == theirs;
  }
  if (!equal)
    return {Code::kInvalidArgument, folder + "/config.json ties the head to the embedding (tie_word_embeddings), and " +
                                        head +
                                        " in the weights is another tensor; set tie_word_embeddings to false, or take "
                                        "lm_head.weight out"};
  source.remove(head);
  return ok_status();
}

bool keep_all(const std::string&) { return true; }
bool keep_llava(const std::string& name) { return !contrastive_only(name); }
bool keep_connector(const std::string& name) { return name.starts_with("multi_modal_projector."); }
bool keep_vision(const std::string& name) { return name.starts_with("vision_tower."); }
bool keep_llm(const std::string& name) { return name.starts_with("language_model."); }

// A tensor that the model has and does not reach: later vision layers, and what follows them.
bool unreached(const std::string& name, size_t vision_blocks) {
  static const std::string kLayers = "vision_tower.vision_model.encoder.layers.";
  if (name.starts_with("vision_tower.vision_model.post_layernorm.")) return true;
  return name.starts_with(kLayers) && std::strtoull(name.c_str() + kLayers.size(), nullptr, 10) >= vision_blocks;
}

}  // namespace

Result<std::unique_ptr<TensorSource>> open_model(const ModelPaths& paths) {
  auto source = std::make_unique<FolderSource>();
  if (!paths.model.empty()) {
    TEPHRA_RETURN_IF_ERROR(add_folder(*source, paths.model, keep_llava));
    source->sort();
    TEPHRA_RETURN_IF_ERROR(drop_identity_projection(*source, paths.model));
    const auto config = load_model_config(paths);  // its own errors are for who loads it
    if (config.ok()) TEPHRA_RETURN_IF_ERROR(drop_tied_head(*source, config->text, paths.model));
    return std::unique_ptr<TensorSource>(std::move(source));
  }
  if (!paths.vision.empty()) TEPHRA_RETURN_IF_ERROR(add_folder(*source, paths.vision, keep_vision));
  if (!paths.connector.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(const auto files, find_connector_files(paths.connector));
    for (const std::string& path : files) TEPHRA_RETURN_IF_ERROR(source->add_file(path, keep_connector));
  }
  if (!paths.llm.empty()) {
    TEPHRA_RETURN_IF_ERROR(add_folder(*source, paths.llm, keep_llm));
    source->sort();
    const auto config = load_llama_config(paths.llm);
    if (config.ok()) TEPHRA_RETURN_IF_ERROR(drop_tied_head(*source, *config, paths.llm));
  }
  source->sort();
  return std::unique_ptr<TensorSource>(std::move(source));
}

Result<std::unique_ptr<TensorSource>> open_clip(const std::string& folder) {
  auto source = std::make_unique<FolderSource>();
  TEPHRA_RETURN_IF_ERROR(add_folder(*source, folder, keep_all));
  source->sort();
  return std::unique_ptr<TensorSource>(std::move(source));
}

std::vector<Diagnostic> check_against_units(const TensorSource& source, const std::vector<sharding::UnitSpec>& units,
                                            const std::string& where, const std::vector<std::string>& allow_missing) {
  std::vector<Diagnostic> out;
  std::set<std::string> wanted;
  size_t vision_blocks = 0;
  for (const auto& unit : units) {
    if (unit.name.starts_with("vision.block.")) ++vision_blocks;
    for (const auto& tensor : unit.tensors) wanted.insert(tensor.name);
  }
  std::vector<std::string> unknown;
  for (const TensorInfo& info : source.tensors())
    if (!wanted.contains(info.name) && !unreached(info.name, vision_blocks)) unknown.push_back(info.name);

  auto report = [&](const std::string& tensor, std::string message, std::string hint) {
    Diagnostic d;
    d.file = where;
    d.field = tensor;
    d.message = std::move(message);
    d.hint = std::move(hint);
    out.push_back(std::move(d));
  };
  for (const auto& unit : units) {
    const bool may_miss = std::find(allow_missing.begin(), allow_missing.end(), unit.group) != allow_missing.end();
    for (const auto& tensor : unit.tensors) {
      const TensorInfo* info = source.find(tensor.name);
      if (info == nullptr) {
        if (may_miss) continue;
        std::string near = nearest_name(tensor.name, unknown);
        report(tensor.name, "the tensor is missing", near.empty() ? "" : "the files hold " + near);
      } else if (info->shape != tensor.shape) {
        report(tensor.name,
               "its shape is " + to_string(info->shape) + " and the configuration gives " + to_string(tensor.shape),
               "use the config.json that belongs to these weights");
      } else if (!is_float(info->dtype)) {
        report(tensor.name, "its elements are " + std::string(dtype_name(info->dtype)),
               "weights are F32, F16, BF16 or F64; a quantised model has to be converted back");
      }
    }
  }
  const std::vector<std::string> names(wanted.begin(), wanted.end());
  for (const std::string& name : unknown) {
    std::string near = nearest_name(name, names);
    report(name, "the model of this configuration has no such tensor", near.empty() ? "" : "it has " + near);
  }
  return out;
}

namespace {
// Tables that are looked up, not multiplied with. The patch embedding is a convolution.
bool is_embedding(const std::string& name) {
  return ends_with(name, "embed_tokens.weight") || ends_with(name, "token_embedding.weight") ||
         ends_with(name, "position_embedding.weight");
}
}  // namespace

void init_tensor(const std::string& name, const Shape& shape, uint64_t seed, int64_t begin, int64_t count, float* out) {
  const uint64_t key = key_of(name);
  const bool weight = ends_with(name, ".weight");
  if (weight && name.find("norm") != std::string::npos) {
    std::fill(out, out + count, 1.0f);
  } else if (ends_with(name, ".bias") || ends_with(name, ".lora_B.weight")) {
    std::fill(out, out + count, 0.0f);
  } else if (name == "logit_scale") {
    std::fill(out, out + count, 2.6592f);
  } else if (weight && shape.size() >= 2 && !is_embedding(name)) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(numel(shape)) / static_cast<double>(shape.front()));
    for (int64_t i = 0; i < count; ++i)
      out[i] = static_cast<float>((2.0 * random_unit({seed, key, static_cast<uint64_t>(begin + i)}) - 1.0) * bound);
  } else {
    const double deviation = ends_with(name, "vision_model.embeddings.position_embedding.weight") ? 1.0 : 0.02;
    for (int64_t i = 0; i < count; ++i)
      out[i] = static_cast<float>(deviation * random_normal({seed, key, static_cast<uint64_t>(begin + i)}));
  }
}

namespace {

class InitialisedSource : public TensorSource {
 public:
  InitialisedSource(std::unique_ptr<TensorSource> base, const std::vector<sharding::UnitSpec>& units, uint64_t seed)
      : base_(std::move(base)), seed_(seed) {
    if (base_) tensors_ = base_->tensors();
    for (const auto& unit : units)
      for (const auto& tensor : unit.tensors)
        if (!in_base(tensor.name)) tensors_.push_back({tensor.name, DType::kFloat32, tensor.shape});
    std::sort(tensors_.begin(), tensors_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }

  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
    if (in_base(name)) return base_->read_float32(name, begin, count, out);
    const TensorInfo* info = find(name);
    if (info == nullptr) return {Code::kNotFound, "the initialised model has no tensor " + name};
    if (begin < 0 || count < 0 || begin > numel(info->shape) - count)
      return {Code::kInvalidArgument,
              "initialised tensor " + name + ": a range outside its shape " + to_string(info->shape)};
    init_tensor(name, info->shape, seed_, begin, count, out);
    return ok_status();
  }

  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    if (in_base(name)) return base_->read_bytes(name, begin, count, out);
    std::vector<float> values(static_cast<size_t>(std::max<int64_t>(count, 0)));
    TEPHRA_RETURN_IF_ERROR(read_float32(name, begin, count, values.data()));
    if (count > 0) std::memcpy(out, values.data(), values.size() * sizeof(float));
    return ok_status();
  }

 private:
  bool in_base(const std::string& name) const { return base_ && base_->find(name) != nullptr; }

  std::unique_ptr<TensorSource> base_;
  uint64_t seed_;
  std::vector<TensorInfo> tensors_;
};

}  // namespace

std::unique_ptr<TensorSource> with_initial_values(std::unique_ptr<TensorSource> base,
                                                  const std::vector<sharding::UnitSpec>& units, uint64_t seed) {
  return std::make_unique<InitialisedSource>(std::move(base), units, seed);
}

}  // namespace tephra::model
