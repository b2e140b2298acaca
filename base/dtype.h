// Element types and shapes, named as safetensors names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tephra {

enum class DType : uint8_t {
  kFloat32 = 1,
  kFloat16 = 2,
  kBFloat16 = 3,
  kFloat64 = 4,
  kInt64 = 5,
  kInt32 = 6,
  kUInt8 = 7,
  kBool = 8
};

int64_t size_bytes(DType dtype);           // of one element
std::string_view dtype_name(DType dtype);  // "F32", "BF16", ...
Result<DType> parse_dtype(std::string_view name);
// "float32", "float16" or "bfloat16", as PyTorch and recipes spell them: what a model's weights and arithmetic can be.
// kInvalidArgument for another.
Result<DType> parse_float_dtype(std::string_view name);

using Shape = std::vector<int64_t>;         // row-major
int64_t numel(const Shape& shape);          // 1 for a scalar
std::string to_string(const Shape& shape);  // "[2, 3]"

// Converts `count` elements of F32, F16, BF16 or F64 at `src` (any alignment) to float32. kUnsupported for integer types.
Status convert_to_float32(const std::byte* src, DType dtype, int64_t count, float* dst);
// Index of the first element that is NaN or infinite; -1 when there is none, as among integers.
int64_t first_not_finite(const std::byte* src, DType dtype, int64_t count);
// The other direction, F32, F16 or BF16, rounding to nearest even.
Status convert_from_float32(const float* src, int64_t count, DType dtype, std::byte* dst);

}  // namespace tephra
