#include "model/nn/thin_linear.h"

#include <vector>

#include "sharding/exec/aten.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace tephra::model {

#ifdef __AVX2__
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kGrain = 32;  // matrix rows that are worth a thread

__m256 load(const float* from) { return _mm256_loadu_ps(from); }
// bfloat16 is the upper half of a float32.
__m256 load(const at::BFloat16* from) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

float sum(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

// R rows of w by B rows of x; every accumulator sees the same sequence of additions, whatever R and B are.
template <int R, int B, typename T>
void block(const float* x, const T* w, int64_t k_count, T* y, int64_t y_stride) {
  __m256 total[R][B];
  for (auto& row : total)
    for (auto& value : row) value = _mm256_setzero_ps();
  for (int64_t k = 0; k < k_count; k += kLanes) {
    __m256 weights[R];
    for (int r = 0; r < R; ++r) weights[r] = load(w + r * k_count + k);
    for (int b = 0; b < B; ++b) {
      const __m256 values = load(x + b * k_count + k);
      for (int r = 0; r < R; ++r) total[r][b] = _mm256_fmadd_ps(weights[r], values, total[r][b]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int b = 0; b < B; ++b) y[b * y_stride + r] = static_cast<T>(sum(total[r][b]));
}

// All rows of x, four at a time: eight accumulators and what they are made from fit the registers.
template <int R, typename T>
void all_rows(const float* x, int64_t rows, const T* w, int64_t k_count, T* y, int64_t y_stride) {
  for (; rows >= 4; rows -= 4, x += 4 * k_count, y += 4 * y_stride) block<R, 4>(x, w, k_count, y, y_stride);
  if (rows == 3) block<R, 3>(x, w, k_count, y, y_stride);
  if (rows == 2) block<R, 2>(x, w, k_count, y, y_stride);
  if (rows == 1) block<R, 1>(x, w, k_count, y, y_stride);
}

template <typename T>
void multiply(const float* x, int64_t rows, const T* w, int64_t n_count, int64_t k_count, T* y) {
  at::parallel_for(0, n_count, kGrain, [&](int64_t begin, int64_t end) {
    int64_t n = begin;
    if (rows == 1)  // one row has accumulators to spare
      for (; n + 4 <= end; n += 4) all_rows<4>(x, rows, w + n * k_count, k_count, y + n, n_count);
    for (; n + 2 <= end; n += 2) all_rows<2>(x, rows, w + n * k_count, k_count, y + n, n_count);
    for (; n < end; ++n) all_rows<1>(x, rows, w + n * k_count, k_count, y + n, n_count);
  });
}

bool fits(const at::Tensor& x, const at::Tensor& w) {
  const auto type = w.scalar_type();
  return !at::GradMode::is_enabled() && x.device().is_cpu() && x.scalar_type() == type &&
         (type == at::kFloat || type == at::kBFloat16) && w.dim() == 2 && w.is_contiguous() &&
         w.size(1) % kLanes == 0 && x.numel() > 0 && x.numel() <= kThinRows * w.size(1);
}

}  // namespace

at::Tensor thin_linear(const at::Tensor& x, const at::Tensor& w) {
  if (!fits(x, w)) return at::linear(x, w);
  const int64_t n_count = w.size(0), k_count = w.size(1), rows = x.numel() / k_count;
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape.back() = n_count;
  at::Tensor y = at::empty(shape, x.options());
  const at::Tensor wide = x.to(at::kFloat).contiguous();
  const float* values = wide.const_data_ptr<float>();
  if (w.scalar_type() == at::kFloat)
    multiply(values, rows, w.const_data_ptr<float>(), n_count, k_count, y.mutable_data_ptr<float>());
  else
    multiply(values, rows, w.const_data_ptr<at::BFloat16>(), n_count, k_count, y.mutable_data_ptr<at::BFloat16>());
  return y;
}
#else
at::Tensor thin_linear(const at::Tensor& x, const at::Tensor& w) { return at::linear(x, w); }
#endif

}  // namespace tephra::model
