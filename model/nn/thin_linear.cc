#include "model/nn/thin_linear.h"

#include <vector>

#include "model/nn/lanes.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

constexpr int64_t kGrain = 32;  // matrix rows that are worth a thread

// R rows of w by B rows of x; every accumulator sees the same sequence of additions, whatever R and B are.
template <int R, int B, typename T>
void block(const float* x, const T* w, int64_t k, float* y, int64_t stride, bool add) {
  Lanes total[R][B] = {};
  for (int64_t i = 0; i < k; i += kLanes) {
    Lanes weights[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) weights[r] = load(w + r * k + i);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) __builtin_prefetch(w + (R + r) * k + i);  // the next rows
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) {
      const Lanes values = load(x + b * k + i);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) total[r][b] += weights[r] * values;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int b = 0; b < B; ++b) y[b * stride + r] = sum(total[r][b]) + (add ? y[b * stride + r] : 0.0f);
}

// All rows of x, four at a time: eight accumulators and what they are made from fit the registers.
template <int R, typename T>
void all_rows(const float* x, int64_t rows, const T* w, int64_t k, float* y, int64_t stride, bool add) {
  for (; rows >= 4; rows -= 4, x += 4 * k, y += 4 * stride) block<R, 4>(x, w, k, y, stride, add);
  if (rows == 3) block<R, 3>(x, w, k, y, stride, add);
  if (rows == 2) block<R, 2>(x, w, k, y, stride, add);
  if (rows == 1) block<R, 1>(x, w, k, y, stride, add);
}

template <typename T>
at::Tensor multiply(const at::Tensor& x, const at::Tensor& w) {
  const int64_t n_count = w.size(0), k = w.size(1), rows = x.numel() / k;
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape.back() = n_count;
  const at::Tensor y = at::empty(shape, x.options().dtype(at::kFloat));
  const at::Tensor wide = x.to(at::kFloat).contiguous();
  const auto* from = wide.const_data_ptr<float>();
  const auto* weights = w.const_data_ptr<T>();
  auto* to = y.mutable_data_ptr<float>();
  at::parallel_for(0, n_count, kGrain,
                   [&](int64_t begin, int64_t end) { thin_rows(from, rows, weights, k, begin, end, to, n_count); });
  return y.to(x.scalar_type());
}

bool fits(const at::Tensor& x, const at::Tensor& w) {
  const auto type = w.scalar_type();
  return !at::GradMode::is_enabled() && x.device().is_cpu() && x.scalar_type() == type &&
         (type == at::kFloat || type == at::kBFloat16) && w.dim() == 2 && w.is_contiguous() &&
         w.size(1) % kLanes == 0 && x.numel() > 0 && x.numel() <= kThinRows * w.size(1);
}

}  // namespace

template <typename T>
void thin_rows(const float* x, int64_t rows, const T* w, int64_t k, int64_t begin, int64_t end, float* y,
               int64_t stride, bool add) {
  int64_t n = begin;
  if (rows == 1)  // one row has accumulators to spare
    for (; n + 4 <= end; n += 4) block<4, 1>(x, w + n * k, k, y + n, stride, add);
  for (; n + 2 <= end; n += 2) all_rows<2>(x, rows, w + n * k, k, y + n, stride, add);
  for (; n < end; ++n) all_rows<1>(x, rows, w + n * k, k, y + n, stride, add);
}
template void thin_rows(const float*, int64_t, const float*, int64_t, int64_t, int64_t, float*, int64_t, bool);
template void thin_rows(const float*, int64_t, const at::BFloat16*, int64_t, int64_t, int64_t, float*, int64_t, bool);

at::Tensor thin_linear(const at::Tensor& x, const at::Tensor& w) {
  if (!fits(x, w)) return at::linear(x, w);
  return w.scalar_type() == at::kFloat ? multiply<float>(x, w) : multiply<at::BFloat16>(x, w);
}

}  // namespace tephra::model
