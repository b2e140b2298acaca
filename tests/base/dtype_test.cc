// Half and bfloat16 conversions against arithmetic on the bit fields, for every 16-bit pattern; rounding is to nearest
// even.
#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace tephra {
namespace {

float half_by_definition(uint16_t bits) {
  int sign = bits >> 15, exponent = bits >> 10 & 31, fraction = bits & 1023;
  double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                     : exponent == 31 ? (fraction ? std::nan("") : std::numeric_limits<double>::infinity())
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>(sign ? -magnitude : magnitude);
}

float convert_one(uint16_t bits, DType dtype) {
  float out = 0;
  EXPECT_TRUE(convert_to_float32(reinterpret_cast<const std::byte*>(&bits), dtype, 1, &out).ok());
  return out;
}

uint16_t convert_back(float value, DType dtype) {
  uint16_t bits = 0;
  EXPECT_TRUE(convert_from_float32(&value, 1, dtype, reinterpret_cast<std::byte*>(&bits)).ok());
  return bits;
}

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

TEST(DType, EveryHalfConvertsBothWays) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float value = convert_one(static_cast<uint16_t>(bits), DType::kFloat16),
          expected = half_by_definition(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(convert_back(value, DType::kFloat16), bits);
  }
}

TEST(DType, EveryBFloat16ConvertsBothWays) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    float value = convert_one(static_cast<uint16_t>(bits), DType::kBFloat16), expected = from_bits(bits << 16);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(convert_one(convert_back(value, DType::kBFloat16), DType::kBFloat16))) << bits;
      continue;
    }
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(convert_back(value, DType::kBFloat16), bits);
  }
}

TEST(DType, RoundsToNearestEven) {
  EXPECT_EQ(convert_back(from_bits(0x3f808000), DType::kBFloat16), 0x3f80);  // a tie: down to even
  EXPECT_EQ(convert_back(from_bits(0x3f818000), DType::kBFloat16), 0x3f82);  // a tie: up to even
  EXPECT_EQ(convert_back(from_bits(0x3f808001), DType::kBFloat16), 0x3f81);  // just over a tie
  EXPECT_EQ(convert_back(from_bits(0x7f7fffff), DType::kBFloat16), 0x7f80);  // the largest float overflows
  EXPECT_EQ(convert_back(1.0f + 0x1p-11f, DType::kFloat16), 0x3c00);
  EXPECT_EQ(convert_back(1.0f + 3 * 0x1p-11f, DType::kFloat16), 0x3c02);
  EXPECT_EQ(convert_back(65520.0f, DType::kFloat16), 0x7c00);
}

TEST(DType, NaNWithLowBitsOnlyStaysNaN) {
  uint16_t bits = convert_back(from_bits(0x7f800001), DType::kBFloat16);
  EXPECT_TRUE(std::isnan(from_bits(static_cast<uint32_t>(bits) << 16)));
}

TEST(DType, ReadsUnalignedSources) {
  std::byte bytes[17] = {};
  double value = -2.5;
  std::memcpy(bytes + 1, &value, 8);
  float out = 0;
  ASSERT_TRUE(convert_to_float32(bytes + 1, DType::kFloat64, 1, &out).ok());
  EXPECT_EQ(out, -2.5f);
}

TEST(DType, RefusesIntegers) {
  float out;
  std::byte bytes[8] = {};
  EXPECT_EQ(convert_to_float32(bytes, DType::kInt64, 1, &out).code(), Code::kUnsupported);
  EXPECT_EQ(convert_from_float32(&out, 1, DType::kBool, bytes).code(), Code::kUnsupported);
}

TEST(DType, NamesAndSizesAgree) {
  for (int i = 1; i <= 8; ++i) {
    DType dtype = static_cast<DType>(i);
    auto parsed = parse_dtype(dtype_name(dtype));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, dtype);
    EXPECT_GT(size_bytes(dtype), 0);
  }
  EXPECT_EQ(size_bytes(DType::kBFloat16), 2);
  EXPECT_EQ(parse_dtype("F8_E4M3").status().code(), Code::kUnsupported);
}

TEST(Shape, CountsAndPrints) {
  EXPECT_EQ(numel({2, 3, 4}), 24);
  EXPECT_EQ(numel({}), 1);
  EXPECT_EQ(numel({5, 0}), 0);
  EXPECT_EQ(to_string(Shape{2, 3}), "[2, 3]");
}

TEST(DType, FindsTheFirstValueThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (float bad : {nan, infinity, -infinity}) {
      const float values[] = {0.0f, -65504.0f, 1e-7f, bad, bad};
      std::byte bytes[20];
      ASSERT_TRUE(convert_from_float32(values, 5, dtype, bytes).ok());
      EXPECT_EQ(first_not_finite(bytes, dtype, 5), 3) << dtype_name(dtype) << bad;
      EXPECT_EQ(first_not_finite(bytes, dtype, 3), -1);
    }
  }
  const double wide[] = {1e300, std::nan("")};
  EXPECT_EQ(first_not_finite(reinterpret_cast<const std::byte*>(wide), DType::kFloat64, 2), 1);
  const int32_t whole[] = {-1};
  EXPECT_EQ(first_not_finite(reinterpret_cast<const std::byte*>(whole), DType::kInt32, 1), -1);
}

}  // namespace
}  // namespace tephra
