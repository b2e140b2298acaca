// Products of few rows with a large matrix, as decoding has them: each weight is read once and multiplied with all rows, so the time
// is that of reading the matrix. General products (at::linear) are made for many rows and lose several times that.
#pragma once

#include <ATen/core/Tensor.h>

namespace tephra::model {

inline constexpr int64_t kThinRows = 16;  // beyond so many rows at::linear is taken

// x [..., K] times w [N, K] transposed: [..., N], as at::linear without a bias. Float32 and bfloat16 are summed in float32, each result
// in an order of its own that depends on K alone: a row's numbers do not depend on the other rows, nor on the number of threads.
// Not differentiable: with gradients enabled, for more rows, other dtypes and devices and K that eight does not divide it is at::linear.
// Threading: any thread; uses at::parallel_for.
at::Tensor thin_linear(const at::Tensor& x, const at::Tensor& w_NK);

// The same on plain memory and on the calling thread alone, for T float or at::BFloat16: rows of x [rows, k] times rows begin .. end - 1
// of w [N, k], k a multiple of 8, into (add: added to) y[row * stride + n].
template <typename T>
void thin_rows(const float* x, int64_t rows, const T* w, int64_t k, int64_t begin, int64_t end, float* y,
               int64_t stride, bool add = false);

}  // namespace tephra::model
