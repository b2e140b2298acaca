// The trained connector as a file of its own, mm_projector.safetensors, or in the files of a folder. Private to
// model/spec.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/spec/model_config.h"
#include "model/spec/safetensors.h"

namespace tephra::model {

// The .safetensors files that `path` (file or folder) means; of several in a folder, those that hold tensors of a connector:
// the original LLaVA keeps it among the language model's, and its shards may part it. At least one. A .bin or .pt, or a
// folder with only those, is refused with kUnsupported.
Result<std::vector<std::string>> find_connector_files(const std::string& path);

// Kind and sizes from the names and shapes in the files. kInvalidArgument: no connector, a tensor of it in two files, or
// matrices that do not follow each other.
Result<ConnectorConfig> read_connector_config(const std::vector<std::string>& files);

// A tensor's canonical name, or "" for one that the model does not have (position_ids, rotary tables).
std::string canonical_name(const std::string& name);

}  // namespace tephra::model
