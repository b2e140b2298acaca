// Each fused operation against LibTorch's own operations and autograd in float64: results and every gradient, in float32 and bfloat16,
// at widths that are vectorised and at one that is not; gradients written in place; bits that do not depend on the number of threads.
#include "model/nn/fused.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>

#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

using Tensors = std::vector<at::Tensor>;
using Operation = std::function<at::Tensor(const Tensors&)>;

at::Tensor drawn(at::IntArrayRef shape, at::ScalarType type) {
  return at::randn(shape, at::kDouble).to(type).set_requires_grad(true);
}

// The operation's result and the gradients of sum(result * g) of every input, g a fixed pattern.
struct Outcome {
  at::Tensor result;
  Tensors gradients;
};
Outcome run(const Operation& operation, Tensors inputs) {
  for (at::Tensor& input : inputs)
    if (input.is_floating_point()) input = input.detach().clone().set_requires_grad(true);
  Outcome out{operation(inputs), {}};
  const at::Tensor pattern = at::sin(at::arange(out.result.numel(), at::kDouble)).view(out.result.sizes());
  (out.result.to(at::kDouble) * pattern).sum().backward();
  for (const at::Tensor& input : inputs)
    if (input.is_floating_point()) out.gradients.push_back(input.grad());
  return out;
}

void expect_close(const at::Tensor& got, const at::Tensor& wanted, at::ScalarType type) {
  ASSERT_TRUE(got.defined());
  ASSERT_EQ(got.sizes(), wanted.sizes());
  // bfloat16 keeps 8 bits: a few roundings of values around the largest.
  const double tolerance = (type == at::kFloat ? 2e-6 : 2e-2) * std::max(1.0, wanted.abs().max().item<double>());
  EXPECT_LE((got.to(at::kDouble) - wanted).abs().max().item<double>(), tolerance);
}

// Against `plain` on the same values in float64.
void expect_same(const Operation& fused, const Operation& plain, const Tensors& inputs) {
  const at::ScalarType type = inputs[0].scalar_type();
  Tensors wide;
  for (const at::Tensor& input : inputs)
    wide.push_back(input.is_floating_point() ? input.detach().to(at::kDouble) : input);
  const Outcome got = run(fused, inputs), wanted = run(plain, wide);
  expect_close(got.result, wanted.result, type);
  for (size_t i = 0; i < got.gradients.size(); ++i) {
    SCOPED_TRACE("gradient of input " + std::to_string(i));
    expect_close(got.gradients[i], wanted.gradients[i], type);
  }
}

at::Tensor plain_norm(const Tensors& in) { return in[0] * at::rsqrt(in[0].pow(2).mean({-1}, true) + 1e-5) * in[1]; }

at::Tensor plain_rotation(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return x * cos.unsqueeze(1) + turned * sin.unsqueeze(1);
}

struct Case {
  at::ScalarType type;
  int64_t width;
};
class Fused : public testing::TestWithParam<Case> {
 protected:
  at::Tensor tensor(const std::vector<int64_t>& shape) const { return drawn(shape, GetParam().type); }
  int64_t width() const { return GetParam().width; }
};
INSTANTIATE_TEST_SUITE_P(Types, Fused,
                         testing::Values(Case{at::kFloat, 64}, Case{at::kBFloat16, 64}, Case{at::kFloat, 12}));

TEST_P(Fused, RmsNorm) {
  expect_same([](const Tensors& in) { return fused_rms_norm(in[0], in[1], 1e-5); }, plain_norm,
              {tensor({3, 37, width()}), tensor({width()})});
}

TEST_P(Fused, RotateTakesStridedHeads) {
  const at::Tensor angles = at::randn({5, width() / 2}, at::kFloat), cos = at::cat({angles.cos(), angles.cos()}, -1),
                   sin = at::cat({angles.sin(), angles.sin()}, -1);
  const int64_t w = width();
  expect_same([&](const Tensors& in) { return fused_rotate(in[0].narrow(2, 1, 3), cos, sin); },
              [&](const Tensors& in) {
                return plain_rotation(in[0].narrow(2, 1, 3), cos.to(at::kDouble), sin.to(at::kDouble));
              },
              {tensor({2, 5, 4, w})});
}

TEST_P(Fused, SwiGlu) {
  expect_same([](const Tensors& in) { return fused_swiglu(in[0], in[1]); },
              [](const Tensors& in) { return in[0] / (1 + (-in[0]).exp()) * in[1]; },
              {tensor({7, 11, width()}) * 4, tensor({7, 11, width()})});
}

TEST_P(Fused, LinearsShareTheirInput) {
  expect_same(
      [](const Tensors& in) {
        const Tensors y = fused_linears(in[0], {in[1], in[2]});
        return at::cat({y[0], y[1]}, -1);
      },
      [](const Tensors& in) {
        return at::cat({at::matmul(in[0], in[1].t()), at::matmul(in[0], in[2].t())}, -1);
      },
      {tensor({2, 9, width()}), tensor({24, width()}), tensor({5, width()})});
}

TEST_P(Fused, LinearAdd) {
  expect_same([](const Tensors& in) { return fused_linear_add(in[0], in[1], in[2]); },
              [](const Tensors& in) { return in[2] + at::matmul(in[0], in[1].t()); },
              {tensor({2, 9, width()}), tensor({24, width()}), tensor({2, 9, 24})});
}

TEST_P(Fused, Embedding) {
  const at::Tensor ids = at::randint(0, 10, {4, 6}, at::kLong);
  expect_same([](const Tensors& in) { return fused_embedding(in[0], in[1]); },
              [](const Tensors& in) { return at::embedding(in[0], in[1]); }, {tensor({10, width()}), ids});
}

at::Tensor plain_loss(const Tensors& in) {
  return at::cross_entropy_loss(at::matmul(in[0], in[1].t()), in[2], {}, at::Reduction::Sum);
}
at::Tensor fused_loss(const Tensors& in) { return fused_head_loss(in[0], in[1], in[2]); }

TEST_P(Fused, HeadLoss) {
  for (const int64_t vocabulary : {64, 37}) {
    const at::Tensor targets = at::randint(0, vocabulary, {29}, at::kLong);
    // bfloat16's logits are rounded before the loss, whose sum over 29 rows then differs by up to 0.05.
    expect_same(fused_loss, plain_loss, {tensor({29, width()}) * 0.2, tensor({vocabulary, width()}) * 0.2, targets});
  }
}

TEST(FusedHeadLoss, OfSeveralChunksIsTheSame) {
  const int64_t vocabulary = kLogitsAtOnce / 4;  // four rows at once
  const at::Tensor targets = at::randint(0, vocabulary, {10}, at::kLong);
  // Of some millions of terms: small logits keep the sums of the backward products within float32's tolerance.
  expect_same(fused_loss, plain_loss, {drawn({10, 8}, at::kFloat) * 0.1, drawn({vocabulary, 8}, at::kFloat), targets});
}

TEST(FusedHeadLoss, WithoutRowsIsZero) {
  const at::Tensor loss = fused_head_loss(at::empty({0, 8}), at::ones({5, 8}), at::empty({0}, at::kLong));
  EXPECT_EQ(loss.item<float>(), 0.0f);
}

// What is written where the place already is must be the gradient itself, not added to what lay there.
TEST(FusedGradients, AreWrittenToTheirPlaces) {
  const at::Tensor x = drawn({6, 16}, at::kFloat), residual = drawn({6, 16}, at::kFloat);
  const at::Tensor targets = at::randint(0, 40, {6}, at::kLong), ids = at::randint(0, 40, {6}, at::kLong);
  const std::vector<std::pair<std::vector<int64_t>, Operation>> cases = {
      {{16}, [&](const Tensors& w) { return fused_rms_norm(x, w[0], 1e-5).sum(); }},
      {{16, 16}, [&](const Tensors& w) { return fused_linears(x, {w[0]})[0].sin().sum(); }},
      {{16, 16}, [&](const Tensors& w) { return fused_linear_add(x, w[0], residual).sin().sum(); }},
      {{40, 16}, [&](const Tensors& w) { return fused_embedding(w[0], ids).sin().sum(); }},
      {{40, 16}, [&](const Tensors& w) { return fused_head_loss(x, w[0], targets); }},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    const at::Tensor weight = drawn(cases[i].first, at::kFloat);
    const at::Tensor wanted = torch::autograd::grad({cases[i].second({weight})}, {weight})[0];
    at::Tensor place = at::full(weight.sizes(), 1e9);
    at::Tensor placed = weight.detach().clone().set_requires_grad(true);
    placed.mutable_grad() = place;
    const at::Tensor got = torch::autograd::grad({cases[i].second({placed})}, {placed})[0];
    EXPECT_EQ(got.const_data_ptr(), place.const_data_ptr());
    EXPECT_TRUE(at::equal(place, wanted));
  }
}

TEST(FusedBits, DoNotDependOnTheNumberOfThreads) {
  at::manual_seed(3);
  const Tensors inputs = {drawn({4, 200, 64}, at::kFloat), drawn({64}, at::kFloat)};
  const auto norm = [](const Tensors& in) { return fused_rms_norm(in[0], in[1], 1e-5); };
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Outcome one = run(norm, inputs);
  at::set_num_threads(2);
  const Outcome two = run(norm, inputs);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.result, two.result));
  for (size_t i = 0; i < one.gradients.size(); ++i) EXPECT_TRUE(at::equal(one.gradients[i], two.gradients[i]));
}

}  // namespace
}  // namespace tephra::model
