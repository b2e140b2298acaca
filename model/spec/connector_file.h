// The trained connector as a file of its own: mm_projector.safetensors, or a folder that holds one. Private to
// model/spec.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "model/spec/model_config.h"
#include "model/spec/safetensors.h"

namespace tephra::model {

// The .safetensors file that `path` (file or folder) means; of several in a folder, the one that holds a connector. A .bin or .pt, or a folder with only those, is refused with
// kUnsupported.
Result<std::string> find_connector_file(const std::string& path);

// Kind and sizes from the names and shapes in the file.
Result<ConnectorConfig> read_connector_config(const SafetensorsFile& file);

// A tensor's canonical name, or "" for one that the model does not have (position_ids, rotary tables).
std::string canonical_name(const std::string& name);

}  // namespace tephra::model
