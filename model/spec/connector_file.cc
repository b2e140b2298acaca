#include "model/spec/connector_file.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/env.h"

namespace tephra::model {
namespace {

bool ends_with(const std::string& text, std::string_view end) { return std::string_view(text).ends_with(end); }

Status pickle_refused(const std::string& path) {
  return {Code::kUnsupported,
          path +
              " is a torch.save file, which can run code when it is read, so it is not; convert it to "
              "safetensors and name that file"};
}

bool is_pickle(const std::string& name) {
  return ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth");
}

bool holds_connector(const SafetensorsFile& file) {
  return std::any_of(file.tensors().begin(), file.tensors().end(), [](const TensorInfo& info) {
    return canonical_name(info.name).starts_with("multi_modal_projector.");
  });
}

}  // namespace

Result<std::vector<std::string>> find_connector_files(const std::string& path) {
  if (is_pickle(path)) return pickle_refused(path);
  if (ends_with(path, ".safetensors")) return std::vector<std::string>{path};
  Env& env = Env::posix();
  if (!env.exists(path))
    return Status(Code::kNotFound,
                  path + " does not exist; name a connector's .safetensors file, or the folder that has one");
  auto names = env.list(path);
  if (!names.ok())
    return Status(Code::kInvalidArgument,
                  path + " is neither a .safetensors file nor a folder with one; name the connector's file");
  std::vector<std::string> files;
  for (const std::string& name : *names)
    if (ends_with(name, ".safetensors")) files.push_back(path + "/" + name);
  if (files.size() == 1) return files;
  std::vector<std::string> found;
  for (const std::string& file_path : files) {
    TEPHRA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::open(file_path));
    if (holds_connector(*file)) found.push_back(file_path);
  }
  if (!found.empty()) return found;
  if (!files.empty()) return Status(Code::kNotFound, "no .safetensors file in " + path + " holds a connector");
  for (const std::string& name : *names)
    if (is_pickle(name)) return pickle_refused(path + "/" + name);
  return Status(Code::kNotFound, path + " holds no .safetensors file; name the connector's file");
}

Result<ConnectorConfig> read_connector_config(const std::vector<std::string>& files) {
  struct Found {
    TensorInfo info;
    std::string path;
  };
  std::map<std::string, Found> found;  // by canonical name
  for (const std::string& path : files) {
    TEPHRA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::open(path));
    for (const TensorInfo& info : file->tensors()) {
      const auto [it, added] = found.try_emplace(canonical_name(info.name), Found{info, path});
      if (!added && it->first.starts_with("multi_modal_projector."))
        return Status(Code::kInvalidArgument, "tensor " + info.name + " of the connector is in " + it->second.path +
                                                  " and in " + path + "; name the one to take");
    }
  }
  const auto first = found.find("multi_modal_projector.linear_1.weight"),
             second = found.find("multi_modal_projector.linear_2.weight");
  if (first == found.end() || first->second.info.shape.size() != 2)
    return Status(Code::kInvalidArgument, files.front() +
                                              " holds no connector: neither multi_modal_projector.linear_1.weight nor "
                                              "model.mm_projector.weight is in it as a matrix");
  const Shape& in = first->second.info.shape;
  if (second == found.end()) return ConnectorConfig{"linear", in[1], in[0]};
  const Shape& out = second->second.info.shape;
  if (out.size() != 2 || out[1] != in[0])
    return Status(Code::kInvalidArgument, second->second.path + ": tensor " + second->second.info.name + " " +
                                              to_string(out) + " does not follow " + first->second.info.name + " " +
                                              to_string(in));
  return ConnectorConfig{"mlp2x_gelu", in[1], out[0]};
}

std::string canonical_name(const std::string& name) {
  if (ends_with(name, "position_ids") || ends_with(name, "rotary_emb.inv_freq")) return "";
  // Longest prefixes first: "model.vision_tower" is transformers 5's or the original's, "model." alone a LLaMA's.
  static constexpr std::pair<std::string_view, std::string_view> kPrefixes[] = {
      {"model.vision_tower.vision_tower.", "vision_tower."},  // the original LLaVA
      {"model.vision_tower.", "vision_tower."},               // transformers 4.52 and later
      {"model.multi_modal_projector.", "multi_modal_projector."},
      {"model.language_model.", "language_model.model."},
      {"model.mm_projector.0.", "multi_modal_projector.linear_1."},
      {"model.mm_projector.2.", "multi_modal_projector.linear_2."},
      {"model.mm_projector.", "multi_modal_projector.linear_1."},
      {"mm_projector.0.", "multi_modal_projector.linear_1."},
      {"mm_projector.2.", "multi_modal_projector.linear_2."},
      {"mm_projector.", "multi_modal_projector.linear_1."},
      {"vision_model.", "vision_tower.vision_model."},
      {"embeddings.", "vision_tower.vision_model.embeddings."},  // a tower alone, of transformers 5.23
      {"pre_layrnorm.", "vision_tower.vision_model.pre_layrnorm."},
      {"encoder.layers.", "vision_tower.vision_model.encoder.layers."},
      {"post_layernorm.", "vision_tower.vision_model.post_layernorm."},
      {"model.", "language_model.model."},
      {"lm_head.", "language_model.lm_head."},
  };
  for (const auto& [from, to] : kPrefixes)
    if (name.starts_with(from)) return std::string(to) + name.substr(from.size());
  return name;
}

}  // namespace tephra::model
