#include "model/nn/thin_decode.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "model/nn/lanes.h"
#include "model/nn/thin_linear.h"
#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

constexpr int64_t kGrain = 32;  // matrix rows that are worth a thread

// A matrix to be multiplied with, and where the products go: y[row * stride + n].
struct Product {
  const at::Tensor& w_NK;
  float* y;
  int64_t stride;
};

// Rows of x [rows, K] times several matrices, as if these stood one below the other. Threads meet once.
template <typename T>
void multiply(const std::vector<float>& x, int64_t rows, std::initializer_list<Product> products, bool add = false) {
  int64_t total = 0;
  for (const Product& p : products) total += p.w_NK.size(0);
  at::parallel_for(0, total, kGrain, [&](int64_t begin, int64_t end) {
    for (const Product& p : products) {
      const int64_t n = p.w_NK.size(0), k = p.w_NK.size(1);
      thin_rows(x.data(), rows, p.w_NK.const_data_ptr<T>(), k, std::clamp<int64_t>(begin, 0, n),
                std::clamp<int64_t>(end, 0, n), p.y, p.stride, add);
      begin -= n, end -= n;
    }
  });
}

template <typename T>
void normalize(const std::vector<float>& x, const at::Tensor& weight, double eps, std::vector<float>& out) {
  const int64_t width = weight.size(0);
  const T* weights = weight.const_data_ptr<T>();
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(width)) {
    Lanes squares{};
    for (int64_t i = 0; i < width; i += kLanes) squares += load(&x[row] + i) * load(&x[row] + i);
    const float scale = 1 / std::sqrt(sum(squares) / static_cast<float>(width) + static_cast<float>(eps));
    for (int64_t i = 0; i < width; i += kLanes) store(load(&x[row] + i) * scale * load(weights + i), &out[row] + i);
  }
}

// silu(x Wg) * (x Wu): [rows, I], over x Wu in `up`.
template <typename T>
void gate(const std::vector<float>& x, int64_t rows, const at::Tensor& wg, const at::Tensor& wu,
          std::vector<float>& gates, std::vector<float>& up) {
  const int64_t inner = wg.size(0), k = wg.size(1);
  at::parallel_for(0, inner / kLanes, kGrain / kLanes, [&](int64_t begin, int64_t end) {
    begin *= kLanes, end *= kLanes;
    thin_rows(x.data(), rows, wg.const_data_ptr<T>(), k, begin, end, gates.data(), inner);
    thin_rows(x.data(), rows, wu.const_data_ptr<T>(), k, begin, end, up.data(), inner);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = row * inner + begin; i < row * inner + end; i += kLanes) {
        const Lanes g = load(gates.data() + i);
        store(g / (exponential(-g) + 1.0f) * load(up.data() + i), up.data() + i);
      }
  });
}

// In place; halves paired as in llama.h.
void rotate(float* x, const float* cos, const float* sin, int64_t size) {
  const int64_t half = size / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float first = x[i], second = x[i + half];
    x[i] = first * cos[i] - second * sin[i];
    x[i + half] = second * cos[i + half] + first * sin[i + half];
  }
}

// Scores to weights that sum to 1. x has room for a multiple of kLanes.
void softmax(float* x, int64_t count) {
  const int64_t whole = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(x + count, x + whole, -std::numeric_limits<float>::infinity());
  Lanes high = load(x), total{};
  for (int64_t i = kLanes; i < whole; i += kLanes) high = larger(high, load(x + i));
  const float top = max(high);
  for (int64_t i = 0; i < whole; i += kLanes) {
    const Lanes e = exponential(load(x + i) - top);
    store(e, x + i);
    total += e;  // beyond count: e^-87 at most, nothing beside the 1 of the highest
  }
  const float scale = 1 / sum(total);
  for (int64_t i = 0; i < whole; i += kLanes) store(load(x + i) * scale, x + i);
}

// Sum of weights[t] * values[t]: C vectors of it, values being `stride` apart.
template <int C, typename T>
void weighted_sum(const float* weights, const T* values, int64_t count, int64_t stride, float* out) {
  Lanes total[C] = {};
  for (int64_t t = 0; t < count; ++t)
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) total[c] += weights[t] * load(values + t * stride + c * kLanes);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) store(total[c], out + c * kLanes);
}

// Rotates queries and keys in qkv, keeps the new key and value, and attends: `out` [rows, N H].
template <typename T>
void attend(std::vector<float>& qkv, const LlamaConfig& c, const Rotary& rotary, std::span<const int64_t> positions,
            LayerCache& cache, std::vector<float>& out) {
  const int64_t size = c.head_dim, groups = c.num_kv_heads, times = c.num_heads / groups, capacity = cache.keys.size(2),
                q_width = c.num_heads * size, width = q_width + 2 * groups * size;
  const float *cos = rotary.cos.const_data_ptr<float>(), *sin = rotary.sin.const_data_ptr<float>();
  T *all_keys = cache.keys.mutable_data_ptr<T>(), *all_values = cache.values.mutable_data_ptr<T>();
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  at::parallel_for(0, static_cast<int64_t>(positions.size()) * groups, 1, [&](int64_t begin, int64_t end) {
    const int64_t room = (capacity + kLanes - 1) / kLanes * kLanes;
    std::vector<float> scores(static_cast<size_t>(times * room));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / groups, g = task % groups, place = positions[static_cast<size_t>(row)];
      float *q = qkv.data() + row * width + g * times * size, *k = qkv.data() + row * width + q_width + g * size;
      const float* v = k + groups * size;
      T *keys = all_keys + task * capacity * size, *values = all_values + task * capacity * size;
      for (int64_t i = 0; i < times; ++i) rotate(q + i * size, cos + place * size, sin + place * size, size);
      for (int64_t i = 0; i < times * size; ++i) q[i] *= scale;
      rotate(k, cos + place * size, sin + place * size, size);
      std::copy_n(k, size, keys + place * size);
      std::copy_n(v, size, values + place * size);
      thin_rows(q, times, keys, size, 0, place + 1, scores.data(), room);
      for (int64_t i = 0; i < times; ++i) {
        const float* weights = scores.data() + i * room;
        float* to = out.data() + row * q_width + (g * times + i) * size;
        softmax(scores.data() + i * room, place + 1);
        int64_t h = 0;
        for (; h + 8 * kLanes <= size; h += 8 * kLanes) weighted_sum<8>(weights, values + h, place + 1, size, to + h);
        for (; h < size; h += kLanes) weighted_sum<1>(weights, values + h, place + 1, size, to + h);
      }
    }
  });
}

template <typename T>
at::Tensor step(const LlamaWeights& weights, const LlamaConfig& c, const Rotary& rotary, std::span<const int64_t> ids,
                std::span<const int64_t> positions, std::vector<LayerCache>& caches) {
  const auto rows = static_cast<int64_t>(ids.size());
  const int64_t width = c.hidden_size, q_width = c.num_heads * c.head_dim, kv_width = c.num_kv_heads * c.head_dim,
                qkv_width = q_width + 2 * kv_width, inner = c.intermediate_size;
  const auto buffer = [rows](int64_t size) { return std::vector<float>(static_cast<size_t>(rows * size)); };
  std::vector<float> h = buffer(width), x = h, qkv = buffer(qkv_width), attended = buffer(q_width),
                     gates = buffer(inner), up = gates;
  for (int64_t r = 0; r < rows; ++r)
    std::copy_n(weights.embed[0].const_data_ptr<T>() + ids[static_cast<size_t>(r)] * width, width,
                h.data() + r * width);
  for (size_t i = 0; i < caches.size(); ++i) {
    const UnitTensors& p = weights.blocks[i];
    normalize<T>(h, p[kInputNorm], c.rms_norm_eps, x);
    multiply<T>(x, rows,
                {{p[kQ], qkv.data(), qkv_width},
                 {p[kK], qkv.data() + q_width, qkv_width},
                 {p[kV], qkv.data() + q_width + kv_width, qkv_width}});
    attend<T>(qkv, c, rotary, positions, caches[i], attended);
    multiply<T>(attended, rows, {{p[kO], h.data(), width}}, /*add=*/true);
    normalize<T>(h, p[kPostNorm], c.rms_norm_eps, x);
    gate<T>(x, rows, p[kGate], p[kUp], gates, up);
    multiply<T>(up, rows, {{p[kDown], h.data(), width}}, /*add=*/true);
  }
  normalize<T>(h, weights.head[kFinalNorm], c.rms_norm_eps, x);
  at::Tensor logits = at::empty({rows, c.vocab_size}, at::kFloat);
  multiply<T>(x, rows, {{weights.head[kLmHead], logits.mutable_data_ptr<float>(), c.vocab_size}});
  return logits;
}

}  // namespace

bool fits_thin_decode(const LlamaWeights& weights, const LlamaConfig& c, int64_t rows) {
  const at::Tensor& any = weights.embed[0];
  return any.is_cpu() && (any.scalar_type() == at::kFloat || any.scalar_type() == at::kBFloat16) && rows <= kThinRows &&
         c.hidden_size % kLanes == 0 && c.intermediate_size % kLanes == 0 && c.head_dim % kLanes == 0;
}

at::Tensor thin_decode(const LlamaWeights& weights, const LlamaConfig& config, const Rotary& rotary,
                       std::span<const int64_t> ids, std::span<const int64_t> positions,
                       std::vector<LayerCache>& caches) {
  return weights.embed[0].scalar_type() == at::kFloat
             ? step<float>(weights, config, rotary, ids, positions, caches)
             : step<at::BFloat16>(weights, config, rotary, ids, positions, caches);
}

}  // namespace tephra::model
