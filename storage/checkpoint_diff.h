// Two checkpoints, tensor by tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "storage/checkpoint_reader.h"

namespace tephra::storage {

struct TensorDifference {
  enum class How {
    kEqual = 1,  // same bytes by their content hashes; nothing was read
    kValues,     // same dtype and shape, other values
    kType,       // another dtype or shape
    kOnlyInA,
    kOnlyInB,
  };
  std::string name;
  StateKind kind = StateKind::kParameter;
  How how = How::kEqual;
  DType dtype_a = DType::kFloat32, dtype_b = DType::kFloat32;
  Shape shape_a{}, shape_b{};
  // kValues, of b - a in float64; not finite where the tensors are not.
  double l2 = 0;        // Euclidean norm
  double relative = 0;  // l2 over the norm of a; l2 where that is 0
  double max_abs = 0;
};

struct DiffOptions {
  bool moments = true;  // also the optimizer's
  // Called after each block with bytes compared and bytes to compare, of one side; may be empty.
  std::function<void(uint64_t done, uint64_t total)> progress{};
};

// Sorted by (name, kind). Memory: two blocks of a few MiB beside the readers' own. The readers' errors.
Result<std::vector<TensorDifference>> diff(const CheckpointReader& a, const CheckpointReader& b,
                                           const DiffOptions& options = {});

}  // namespace tephra::storage
