// Against LibTorch's attention of each sequence by itself, in float64 with autograd: results and gradients.
#include "model/nn/packed_attention.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <vector>

#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

constexpr int64_t kHeads = 3, kHeadSize = 16;

at::Tensor drawn(int64_t places, at::ScalarType type) {
  // Heads lie beside each other, as the projections leave them.
  return at::randn({1, places, kHeads, kHeadSize}, at::kDouble).to(type).transpose(1, 2);
}

at::Tensor one_by_one(const std::vector<at::Tensor>& qkv, const std::vector<int64_t>& lengths) {
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(2, begin, length); };
    const at::Tensor scores = at::matmul(part(qkv[0]), part(qkv[1]).transpose(-1, -2)) / std::sqrt(double{kHeadSize});
    const at::Tensor hidden = at::ones({length, length}, at::kBool).triu(1);
    parts.push_back(at::matmul(at::softmax(scores.masked_fill(hidden, -1e300), -1), part(qkv[2])));
    begin += length;
  }
  return at::cat(parts, 2);
}

class PackedAttention : public ::testing::TestWithParam<std::vector<int64_t>> {};

TEST_P(PackedAttention, IsThatOfEachSequence) {
  const std::vector<int64_t>& lengths = GetParam();
  int64_t places = 0;
  for (const int64_t length : lengths) places += length;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    std::vector<at::Tensor> narrow, wide;
    for (int i = 0; i < 3; ++i) {
      narrow.push_back(drawn(places, type).set_requires_grad(true));
      wide.push_back(narrow.back().detach().to(at::kDouble).set_requires_grad(true));
    }
    const at::Tensor got = packed_causal_attention(narrow[0], narrow[1], narrow[2], lengths);
    const at::Tensor wanted = one_by_one(wide, lengths);
    const double tolerance = type == at::kFloat ? 1e-5 : 4e-2;
    EXPECT_TRUE(at::allclose(got.to(at::kDouble), wanted, tolerance, tolerance));
    EXPECT_TRUE(got.transpose(1, 2).is_contiguous());
    const at::Tensor pattern = at::randn(wanted.sizes(), at::kDouble);
    (got.to(at::kDouble) * pattern).sum().backward();
    (wanted * pattern).sum().backward();
    for (size_t i = 0; i < narrow.size(); ++i)
      EXPECT_TRUE(at::allclose(narrow[i].grad().to(at::kDouble), wide[i].grad(), tolerance, tolerance)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, PackedAttention,
                         ::testing::Values(std::vector<int64_t>{5}, std::vector<int64_t>{1, 7, 1},
                                           std::vector<int64_t>{130, 3, 64, 200}));

TEST(PackedAttentionDeathTest, LengthsThatDoNotSumToThePlaces) {
  const at::Tensor x = drawn(6, at::kFloat);
  EXPECT_DEATH(packed_causal_attention(x, x, x, std::vector<int64_t>{2, 3}), "do not sum");
}

}  // namespace
}  // namespace tephra::model
