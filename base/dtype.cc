#include "base/dtype.h"

#include <immintrin.h>

#include <cstring>

namespace tephra {
namespace {
struct Row {
  DType dtype;
  int64_t bytes;
  std::string_view name;
};
constexpr Row kRows[] = {{DType::kFloat32, 4, "F32"}, {DType::kFloat16, 2, "F16"}, {DType::kBFloat16, 2, "BF16"},
                         {DType::kFloat64, 8, "F64"}, {DType::kInt64, 8, "I64"},   {DType::kInt32, 4, "I32"},
                         {DType::kUInt8, 1, "U8"},    {DType::kBool, 1, "BOOL"}};

const Row& row(DType dtype) {
  for (const Row& r : kRows)
    if (r.dtype == dtype) return r;
  TEPHRA_CHECK(false, "not a dtype");
}

uint16_t load16(const std::byte* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

uint16_t bfloat16_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((bits >> 16) | 0x40);  // NaN stays NaN
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
// NaN and infinity have every bit of the exponent set.
template <typename Bits>
int64_t first_with_exponent(const std::byte* src, int64_t count, Bits exponent) {
  for (int64_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, src + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    if ((bits & exponent) == exponent) return i;
  }
  return -1;
}
}  // namespace

int64_t size_bytes(DType dtype) { return row(dtype).bytes; }
std::string_view dtype_name(DType dtype) { return row(dtype).name; }

Result<DType> parse_dtype(std::string_view name) {
  for (const Row& r : kRows)
    if (r.name == name) return r.dtype;
  return Status(Code::kUnsupported, "unknown dtype '" + std::string(name) + "'");
}

Result<DType> parse_float_dtype(std::string_view name) {
  if (name == "float32") return DType::kFloat32;
  if (name == "float16") return DType::kFloat16;
  if (name == "bfloat16") return DType::kBFloat16;
  return Status(Code::kInvalidArgument, "dtype '" + std::string(name) + "': there are float32, float16 and bfloat16");
}

int64_t numel(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

Status convert_to_float32(const std::byte* src, DType dtype, int64_t count, float* dst) {
  switch (dtype) {
    case DType::kFloat32:
      if (count > 0) std::memcpy(dst, src, count * 4);  // pointers to nothing may be null
      return ok_status();
    case DType::kBFloat16:
      for (int64_t i = 0; i < count; ++i) {
        uint32_t bits = static_cast<uint32_t>(load16(src + 2 * i)) << 16;
        std::memcpy(dst + i, &bits, 4);
      }
      return ok_status();
    case DType::kFloat16:
      for (int64_t i = 0; i < count; ++i) dst[i] = _cvtsh_ss(load16(src + 2 * i));
      return ok_status();
    case DType::kFloat64:
      for (int64_t i = 0; i < count; ++i) {
        double v;
        std::memcpy(&v, src + 8 * i, 8);
        dst[i] = static_cast<float>(v);
      }
      return ok_status();
    default: return {Code::kUnsupported, "cannot read " + std::string(dtype_name(dtype)) + " as float32"};
  }
}

int64_t first_not_finite(const std::byte* src, DType dtype, int64_t count) {
  switch (dtype) {
    case DType::kFloat32: return first_with_exponent<uint32_t>(src, count, 0x7f800000u);
    case DType::kFloat16: return first_with_exponent<uint16_t>(src, count, 0x7c00u);
    case DType::kBFloat16: return first_with_exponent<uint16_t>(src, count, 0x7f80u);
    case DType::kFloat64: return first_with_exponent<uint64_t>(src, count, 0x7ff0000000000000u);
    default: return -1;
  }
}

Status convert_from_float32(const float* src, int64_t count, DType dtype, std::byte* dst) {
  switch (dtype) {
    case DType::kFloat32:
      if (count > 0) std::memcpy(dst, src, count * 4);  // pointers to nothing may be null
      return ok_status();
    case DType::kBFloat16:
    case DType::kFloat16:
      for (int64_t i = 0; i < count; ++i) {
        uint16_t bits =
            dtype == DType::kBFloat16 ? bfloat16_bits(src[i]) : _cvtss_sh(src[i], _MM_FROUND_TO_NEAREST_INT);
        std::memcpy(dst + 2 * i, &bits, 2);
      }
      return ok_status();
    default: return {Code::kUnsupported, "cannot write float32 as " + std::string(dtype_name(dtype))};
  }
}

}  // namespace tephra
