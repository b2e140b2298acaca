#include "model/spec/connector_file.h"

#include <algorithm>
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

// The original LLaVA keeps the connector in one of the language model's files.
Result<std::string> only_with_connector(const std::vector<std::string>& files, const std::string& folder) {
  std::string found;
  for (const std::string& path : files) {
    TEPHRA_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::open(path));
    const bool holds = std::any_of(file->tensors().begin(), file->tensors().end(), [](const TensorInfo& info) {
      return canonical_name(info.name).starts_with("multi_modal_projector.");
    });
    if (!holds) continue;
    if (!found.empty())
      return Status(Code::kInvalidArgument,
                    folder + " holds parts of a connector in " + found + " and in " + path + "; name the one to take");
    found = path;
  }
  if (found.empty()) return Status(Code::kNotFound, "no .safetensors file in " + folder + " holds a connector");
  return found;
}

}  // namespace

Result<std::string> find_connector_file(const std::string& path) {
  if (is_pickle(path)) return pickle_refused(path);
  if (ends_with(path, ".safetensors")) return path;
  Env& env = Env::posix();
  if (!env.exists(path)) return Status(Code::kNotFound, path + " does not exist");
  auto names = env.list(path);
  if (!names.ok())
    return Status(Code::kInvalidArgument,
                  path + " is neither a .safetensors file nor a folder with one; name the connector's file");
  std::vector<std::string> files;
  for (const std::string& name : *names)
    if (ends_with(name, ".safetensors")) files.push_back(path + "/" + name);
  if (files.size() == 1) return files.front();
  if (!files.empty()) return only_with_connector(files, path);
  for (const std::string& name : *names)
    if (is_pickle(name)) return pickle_refused(path + "/" + name);
  return Status(Code::kNotFound, path + " holds no .safetensors file; name the connector's file");
}

Result<ConnectorConfig> read_connector_config(const SafetensorsFile& file) {
  const TensorInfo *first = nullptr, *second = nullptr;
  for (const TensorInfo& info : file.tensors()) {
    std::string name = canonical_name(info.name);
    if (name == "multi_modal_projector.linear_1.weight") first = &info;
    if (name == "multi_modal_projector.linear_2.weight") second = &info;
  }
  if (first == nullptr || first->shape.size() != 2)
    return Status(Code::kInvalidArgument, file.path() +
                                              " holds no connector: neither multi_modal_projector.linear_1.weight nor "
                                              "model.mm_projector.weight is in it as a matrix");
  if (second != nullptr && (second->shape.size() != 2 || second->shape[1] != first->shape[0]))
    return Status(Code::kInvalidArgument, file.path() + ": tensor " + second->name + " " + to_string(second->shape) +
                                              " does not follow " + first->name + " " + to_string(first->shape));
  return ConnectorConfig{second ? "mlp2x_gelu" : "linear", first->shape[1],
                         second ? second->shape[0] : first->shape[0]};
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
      {"model.", "language_model.model."},
      {"lm_head.", "language_model.lm_head."},
  };
  for (const auto& [from, to] : kPrefixes)
    if (name.starts_with(from)) return std::string(to) + name.substr(from.size());
  return name;
}

}  // namespace tephra::model
