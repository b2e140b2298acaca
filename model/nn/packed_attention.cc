#include "model/nn/packed_attention.h"

#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "base/status.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Like x, whose places are its dimension 2, but with a place's heads beside each other in memory.
at::Tensor places_outside(const at::Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

struct PackedAttention : Function<PackedAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int64_t>& lengths) {
    at::Tensor out = places_outside(q);
    variable_list saved = {q, k, v, out};
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      const auto part = [&](const at::Tensor& x) { return x.narrow(2, begin, length); };
      auto [attended, sums] =
          at::_scaled_dot_product_flash_attention_for_cpu(part(q), part(k), part(v), 0.0, /*is_causal=*/true);
      part(out).copy_(attended);
      saved.push_back(sums);
      begin += length;
    }
    context->save_for_backward(saved);
    context->saved_data["lengths"] = lengths;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const at::Tensor dq = places_outside(q), dk = places_outside(k), dv = places_outside(v);
    int64_t begin = 0;
    size_t sums = 4;
    for (const int64_t length : context->saved_data["lengths"].toIntVector()) {
      const auto part = [&](const at::Tensor& x) { return x.narrow(2, begin, length); };
      auto [dq_part, dk_part, dv_part] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          part(gradients[0]), part(q), part(k), part(v), part(out), saved[sums++], 0.0, /*is_causal=*/true);
      part(dq).copy_(dq_part);
      part(dk).copy_(dk_part);
      part(dv).copy_(dv_part);
      begin += length;
    }
    return {dq, dk, dv, {}};
  }
};

}  // namespace

at::Tensor packed_causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   std::span<const int64_t> lengths) {
  int64_t total = 0;
  for (const int64_t length : lengths) total += length;
  TEPHRA_CHECK(q.size(0) == 1 && q.size(2) == total, "the lengths of packed sequences do not sum to their places");
  return PackedAttention::apply(q, k, v, std::vector<int64_t>(lengths.begin(), lengths.end()));
}

}  // namespace tephra::model
