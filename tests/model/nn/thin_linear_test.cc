// Thin products equal at::linear's up to rounding, and a row's bits depend on neither its neighbours nor the threads.
#include "model/nn/thin_linear.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

at::Tensor random(const std::vector<int64_t>& shape, uint64_t seed) {
  at::Tensor out = at::empty(shape, at::kFloat);
  float* values = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < out.numel(); ++i)
    values[i] = static_cast<float>(random_normal({seed, static_cast<uint64_t>(i)}));
  return out;
}

TEST(ThinLinear, EqualsTheGeneralProduct) {
  at::NoGradGuard no_grad;
  for (const int64_t k : {8, 64, 1376})
    for (const int64_t n : {1, 3, 4, 131})
      for (const int64_t rows : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17}) {
        const at::Tensor x = random({rows, k}, 1), w = random({n, k}, 2);
        const at::Tensor expected = at::linear(x.to(at::kDouble), w.to(at::kDouble));
        const double scale = std::sqrt(static_cast<double>(k));
        EXPECT_LT((thin_linear(x, w).to(at::kDouble) - expected).abs().max().item<double>(), 2e-6 * scale)
            << rows << "x" << k << " " << n;
        const at::Tensor half_x = x.to(at::kBFloat16), half_w = w.to(at::kBFloat16);
        const at::Tensor exact = at::linear(half_x.to(at::kDouble), half_w.to(at::kDouble));
        const at::Tensor got = thin_linear(half_x, half_w);
        EXPECT_EQ(got.scalar_type(), at::kBFloat16);
        // One rounding to 8 bits.
        EXPECT_LT(((got.to(at::kDouble) - exact).abs() - exact.abs() / 256).max().item<double>(), 1e-5 * scale);
      }
}

TEST(ThinLinear, ARowsBitsAreItsOwn) {
  at::NoGradGuard no_grad;
  const at::Tensor x = random({8, 512}, 3), w = random({1000, 512}, 4);
  const int threads = at::get_num_threads();
  const at::Tensor together = thin_linear(x, w);
  at::set_num_threads(1);
  const at::Tensor single = thin_linear(x, w);
  at::set_num_threads(threads);
  EXPECT_TRUE(together.equal(single));
  for (int64_t b = 0; b < 8; ++b) EXPECT_TRUE(thin_linear(x.narrow(0, b, 1), w).equal(together.narrow(0, b, 1))) << b;
  EXPECT_TRUE(thin_linear(x.view({2, 4, 512}), w).equal(together.view({2, 4, 1000})));
}

TEST(ThinLinear, LeavesTheRestToTheGeneralProduct) {
  at::NoGradGuard no_grad;
  const at::Tensor x = random({3, 12}, 5), w = random({5, 12}, 6);  // 12 is no multiple of the lanes
  EXPECT_TRUE(thin_linear(x, w).equal(at::linear(x, w)));
  const at::Tensor wide = random({2, 16}, 7).to(at::kDouble), square = random({4, 16}, 8).to(at::kDouble);
  EXPECT_TRUE(thin_linear(wide, square).equal(at::linear(wide, square)));
  const at::Tensor turned = random({16, 4}, 9).t();  // not contiguous
  const at::Tensor y = random({2, 16}, 10);
  EXPECT_TRUE(thin_linear(y, turned).equal(at::linear(y, turned)));
}

}  // namespace
}  // namespace tephra::model
