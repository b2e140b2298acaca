// Named tensors that can be read in part: a safetensors folder or a checkpoint. A rank asks for its own ranges only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace tephra {

struct TensorInfo {
  std::string name;  // canonical: the llava-hf layout's key, "language_model.model.layers.0.mlp.up_proj.weight"
  DType dtype = DType::kFloat32;
  Shape shape;
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;  // sorted by name
  const TensorInfo* find(const std::string& name) const;
  // Elements [begin, begin + count) in row-major order, as float32. Errors name the file and the tensor. Any thread.
  virtual Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const = 0;
  // The same range as stored: count * size_bytes(dtype) bytes.
  virtual Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const = 0;
};

}  // namespace tephra
