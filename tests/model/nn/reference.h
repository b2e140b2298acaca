// The parity set: models, recorded samples and pixels.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/env.h"
#include "model/nn/batch.h"
#include "model/spec/model_folder.h"
#include "model/spec/safetensors.h"

#define TEPHRA_MODEL_REFERENCE(dir)                                                                                 \
  const char* dir##_text = std::getenv("TEPHRA_REFERENCE_DIR");                                                     \
  if (dir##_text == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the reference fixtures to run this test"; \
  const std::string dir = dir##_text

namespace tephra::model {

template <typename T>
T must(Result<T> result) {
  TEPHRA_CHECK(result.ok(), result.status().to_string());
  return std::move(result).value();
}

inline nlohmann::json reference_json(const std::string& path) {
  return nlohmann::json::parse(must(read_file(Env::posix(), path)));
}

inline ModelPaths reference_model(const std::string& dir, const std::string& name) {
  if (name == "llava") return {.model = dir + "/llava-tiny"};
  return {.vision = dir + "/clip-tiny",
          .connector = dir + "/linear-projector/mm_projector.safetensors",
          .llm = dir + "/llama-tiny"};
}

// A tensor of a fixture file, as floats.
inline std::vector<float> reference_tensor(const SafetensorsFile& file, const std::string& name) {
  auto bytes = must(file.bytes(name));
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

}  // namespace tephra::model
