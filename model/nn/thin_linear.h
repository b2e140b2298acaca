// Products of few rows with a large matrix, as decoding has them: each weight is read once and multiplied with all rows, so the time
// is that of reading the matrix. General products (at::linear) are made for many rows and lose several times that.
// Threading: any thread; uses at::parallel_for.
#pragma once

#include <ATen/core/Tensor.h>

namespace tephra::model {

inline constexpr int64_t kThinRows = 16;  // beyond so many rows at::linear is taken

// x [..., K] times w [N, K] transposed: [..., N], as at::linear without a bias. Float32 and bfloat16 are summed in float32, each result
// in an order of its own that depends on K alone: a row's numbers do not depend on the other rows, nor on the number of threads.
// Not differentiable: with gradients enabled, for more rows, other dtypes and other machines than x86 with AVX2 it is at::linear.
at::Tensor thin_linear(const at::Tensor& x, const at::Tensor& w_NK);

}  // namespace tephra::model
