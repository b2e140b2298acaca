#include "model/nn/fused.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "model/nn/lanes.h"
#include "sharding/exec/aten.h"

namespace tephra::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr int64_t kRowBlock = 32;    // rows whose sums belong together, whatever the number of threads
constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread

bool vectorised(const at::Tensor& x) {
  const auto type = x.scalar_type();
  return x.device().is_cpu() && (type == at::kFloat || type == at::kBFloat16) && x.dim() > 0 &&
         x.size(-1) % kLanes == 0 && x.numel() > 0;
}

// Calls f(T*) for the dtype of `x`, one of the two that vectorised() lets pass.
template <typename F>
void for_type(const at::Tensor& x, const F& f) {
  if (x.scalar_type() == at::kFloat) return f(static_cast<float*>(nullptr));
  f(static_cast<at::BFloat16*>(nullptr));
}

template <typename F>
void for_rows(int64_t rows, int64_t width, const F& f) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

// Where the gradient of `weight` is written.
at::Tensor gradient_place(const at::Tensor& weight) {
  const bool placed = weight.is_leaf() && weight.grad().defined();
  return placed ? weight.grad() : at::empty(weight.sizes(), weight.options());
}

at::Tensor flat(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); }

std::vector<int64_t> with_last(const at::Tensor& x, int64_t last) {
  std::vector<int64_t> shape(x.sizes().begin(), x.sizes().end());
  shape.back() = last;
  return shape;
}

// ---- norm

template <typename T>
void norm_rows(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& scales,
               const at::Tensor& y) {
  const int64_t width = x.size(-1), rows = x.numel() / width;
  const T *from = x.const_data_ptr<T>(), *w = weight.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  float* scale = scales.mutable_data_ptr<float>();
  for_rows(rows, width, [=](int64_t row) {
    const T* in = from + row * width;
    T* out = to + row * width;
    Lanes squares{};
    for (int64_t i = 0; i < width; i += kLanes) {
      const Lanes v = load(in + i);
      squares += v * v;
    }
    const float s = 1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + static_cast<float>(eps));
    for (int64_t i = 0; i < width; i += kLanes) store(load(w + i) * (load(in + i) * s), out + i);
    scale[row] = s;
  });
}

// dx = s (g - x s^2 mean(g x)), g = dy w; partial sums of dw = dy x s for each block of rows.
template <typename T>
void norm_rows_backward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales, const at::Tensor& dy,
                        const at::Tensor& dx, float* partial) {
  const int64_t width = x.size(-1), rows = x.numel() / width, blocks = (rows + kRowBlock - 1) / kRowBlock;
  const T *from = x.const_data_ptr<T>(), *w = weight.const_data_ptr<T>(), *up = dy.const_data_ptr<T>();
  T* to = dx.mutable_data_ptr<T>();
  const float* scale = scales.const_data_ptr<float>();
  for_rows(blocks, width * kRowBlock, [=](int64_t block) {
    float* dw = partial ? partial + block * width : nullptr;
    if (dw) std::fill(dw, dw + width, 0.0f);
    for (int64_t row = block * kRowBlock; row < std::min(rows, (block + 1) * kRowBlock); ++row) {
      const T *in = from + row * width, *gradient = up + row * width;
      T* out = to + row * width;
      const float s = scale[row];
      Lanes dot{};
      for (int64_t i = 0; i < width; i += kLanes) dot += load(gradient + i) * load(w + i) * load(in + i);
      const float mean = sum(dot) * s * s / static_cast<float>(width);
      for (int64_t i = 0; i < width; i += kLanes) {
        const Lanes v = load(in + i), g = load(gradient + i);
        if (dw) store(load(dw + i) + g * (v * s), dw + i);
        store((g * load(w + i) - v * mean) * s, out + i);
      }
    }
  });
}

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double eps) {
    const at::Tensor in = x.contiguous();
    at::Tensor y = at::empty(in.sizes(), in.options());
    const at::Tensor scales = at::empty({in.numel() / in.size(-1)}, in.options().dtype(at::kFloat));
    for_type(in, [&]<typename T>(T*) { norm_rows<T>(in, weight, eps, scales, y); });
    context->save_for_backward({in, weight, scales});
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &scales = saved[2];
    const at::Tensor dy = gradients[0].contiguous(), dx = at::empty(x.sizes(), x.options());
    const int64_t width = x.size(-1), blocks = (scales.numel() + kRowBlock - 1) / kRowBlock;
    const bool trained = context->needs_input_grad(1);
    const at::Tensor partial = trained ? at::empty({blocks, width}, scales.options()) : at::Tensor();
    for_type(x, [&]<typename T>(T*) {
      norm_rows_backward<T>(x, weight, scales, dy, dx, trained ? partial.mutable_data_ptr<float>() : nullptr);
    });
    if (!trained) return {dx, {}, {}};
    const at::Tensor dw = gradient_place(weight);
    dw.copy_(partial.sum(0));
    return {dx, dw, {}};
  }
};

// ---- rotation

// (a, b) -> (a cos - b sin, b cos + a sin) for the halves a, b of each head; the gradient turns the other way. The tables' halves are
// equal.
template <typename T>
at::Tensor rotated(const at::Tensor& x_BTNH, const at::Tensor& cos_TH, const at::Tensor& sin_TH, float direction) {
  const int64_t places = x_BTNH.size(1), heads = x_BTNH.size(2), width = x_BTNH.size(3), half = width / 2;
  const int64_t stride_b = x_BTNH.stride(0), stride_t = x_BTNH.stride(1), stride_n = x_BTNH.stride(2);
  at::Tensor y = at::empty(x_BTNH.sizes(), x_BTNH.options());
  const T* from = x_BTNH.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  const float *cos = cos_TH.const_data_ptr<float>(), *sin = sin_TH.const_data_ptr<float>();
  for_rows(x_BTNH.size(0) * places, heads * width, [=](int64_t row) {
    const int64_t place = row % places;
    for (int64_t head = 0; head < heads; ++head) {
      const T* in = from + row / places * stride_b + place * stride_t + head * stride_n;
      T* out = to + (row * heads + head) * width;
      for (int64_t i = 0; i < half; i += kLanes) {
        const Lanes a = load(in + i), b = load(in + half + i);
        const Lanes c = load(cos + place * width + i), s = load(sin + place * width + i) * direction;
        store(a * c - b * s, out + i);
        store(b * c + a * s, out + half + i);
      }
    }
  });
  return y;
}

at::Tensor rotated(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float direction) {
  at::Tensor y;
  for_type(x, [&]<typename T>(T*) { y = rotated<T>(x, cos, sin, direction); });
  return y;
}

struct Rotate : Function<Rotate> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, 1);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = gradients[0].stride(-1) == 1 ? gradients[0] : gradients[0].contiguous();
    return {rotated(dy, saved[0], saved[1], -1), {}, {}};
  }
};

// ---- gate

inline Lanes sigmoid(const Lanes& x) { return 1.0f / (1.0f + exponential(-x)); }

template <typename T>
void swiglu_forward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y) {
  const T *g = gate.const_data_ptr<T>(), *u = up.const_data_ptr<T>();
  T* to = y.mutable_data_ptr<T>();
  at::parallel_for(0, gate.numel() / kLanes, kGrain / kLanes, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
      const Lanes v = load(g + i);
      store(v * sigmoid(v) * load(u + i), to + i);
    }
  });
}

template <typename T>
void swiglu_backward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& dy, const at::Tensor& dgate,
                     const at::Tensor& dup) {
  const T *g = gate.const_data_ptr<T>(), *u = up.const_data_ptr<T>(), *d = dy.const_data_ptr<T>();
  T *to_gate = dgate.mutable_data_ptr<T>(), *to_up = dup.mutable_data_ptr<T>();
  at::parallel_for(0, gate.numel() / kLanes, kGrain / kLanes, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin * kLanes; i < end * kLanes; i += kLanes) {
      const Lanes v = load(g + i), s = sigmoid(v), dv = load(d + i);
      store(dv * load(u + i) * (s * (1.0f + v * (1.0f - s))), to_gate + i);
      store(dv * (v * s), to_up + i);
    }
  });
}

struct SwiGlu : Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    const at::Tensor g = gate.contiguous(), u = up.contiguous();
    at::Tensor y = at::empty(g.sizes(), g.options());
    for_type(g, [&]<typename T>(T*) { swiglu_forward<T>(g, u, y); });
    context->save_for_backward({g, u});
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &g = saved[0], &u = saved[1], dy = gradients[0].contiguous();
    const at::Tensor dg = at::empty(g.sizes(), g.options()), du = at::empty(u.sizes(), u.options());
    for_type(g, [&]<typename T>(T*) { swiglu_backward<T>(g, u, dy, dg, du); });
    return {dg, du};
  }
};

// ---- products

at::Tensor weight_gradient(const at::Tensor& dy_RO, const at::Tensor& x_RI, const at::Tensor& weight) {
  at::Tensor place = gradient_place(weight);
  at::mm_out(place, dy_RO.t(), x_RI);
  return place;
}

// Inputs x, weights...; saved in that order.
struct Linears : Function<Linears> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::TensorList& weights) {
    const at::Tensor rows = flat(x);
    bool learns = false;
    for (const at::Tensor& weight : weights) learns = learns || weight.requires_grad();
    variable_list saved = {learns ? rows : at::Tensor()}, outputs;
    for (const at::Tensor& weight : weights) {
      saved.push_back(weight);
      outputs.push_back(at::mm(rows, weight.t()).view(with_last(x, weight.size(0))));
    }
    context->saved_data["shape"] = x.sizes().vec();
    context->save_for_backward(saved);
    return outputs;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    variable_list result(saved.size());
    at::Tensor dx;
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) continue;
      const at::Tensor &weight = saved[1 + i], dy = flat(gradients[i]);
      if (context->needs_input_grad(1 + i)) result[1 + i] = weight_gradient(dy, x, weight);
      if (!context->needs_input_grad(0)) continue;
      dx.defined() ? static_cast<void>(dx.addmm_(dy, weight)) : static_cast<void>(dx = at::mm(dy, weight));
    }
    if (dx.defined()) result[0] = dx.view(context->saved_data["shape"].toIntVector());
    return result;
  }
};

struct LinearAdd : Function<LinearAdd> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& residual) {
    const at::Tensor rows = flat(x);
    context->saved_data["shape"] = x.sizes().vec();
    context->save_for_backward({weight.requires_grad() ? rows : at::Tensor(), weight});
    return at::addmm(flat(residual), rows, weight.t()).view(residual.sizes());
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = flat(gradients[0]);
    variable_list result = {{}, {}, gradients[0]};
    if (context->needs_input_grad(0)) result[0] = at::mm(dy, saved[1]).view(context->saved_data["shape"].toIntVector());
    if (context->needs_input_grad(1)) result[1] = weight_gradient(dy, saved[0], saved[1]);
    return result;
  }
};

// ---- embedding

struct Embedding : Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& table, const at::Tensor& ids) {
    context->save_for_backward({table, ids});
    return at::embedding(table, ids);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor place = gradient_place(saved[0]);
    place.zero_();
    place.index_add_(0, saved[1].reshape({-1}), flat(gradients[0]));
    return {place, {}};
  }
};

// ---- head and loss

// Replaces each row of logits by its softmax less one at the target, and returns the loss of the rows.
double softmax_and_loss(const at::Tensor& logits_nV, const at::Tensor& targets_n) {
  const int64_t rows = logits_nV.size(0), width = logits_nV.size(1), whole = width / kLanes * kLanes;
  float* logits = logits_nV.mutable_data_ptr<float>();
  const int64_t* targets = targets_n.const_data_ptr<int64_t>();
  std::vector<double> losses(rows);
  for_rows(rows, width, [&, logits, targets](int64_t row) {
    float* l = logits + row * width;
    Lanes tops = Lanes{} + l[0];
    for (int64_t i = 0; i < whole; i += kLanes) tops = larger(tops, load(l + i));
    float top = max(tops);
    for (int64_t i = whole; i < width; ++i) top = std::max(top, l[i]);
    const float at_target = l[targets[row]] - top;
    Lanes sums{};
    float rest = 0;
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Lanes e = exponential(load(l + i) - top);
      sums += e;
      store(e, l + i);
    }
    for (int64_t i = whole; i < width; ++i) rest += l[i] = std::exp(l[i] - top);
    const float total = sum(sums) + rest, scale = 1.0f / total;
    for (int64_t i = 0; i < whole; i += kLanes) store(load(l + i) * scale, l + i);
    for (int64_t i = whole; i < width; ++i) l[i] *= scale;
    l[targets[row]] -= 1.0f;
    losses[row] = std::log(static_cast<double>(total)) - at_target;
  });
  double loss = 0;
  for (const double of_row : losses) loss += of_row;
  return loss;
}

struct Chunk {
  at::Tensor x, targets;
  int64_t begin;
};

std::vector<Chunk> chunks_of(const at::Tensor& x, const at::Tensor& targets, int64_t vocabulary) {
  const int64_t rows = x.size(0), at_once = std::max<int64_t>(1, kLogitsAtOnce / vocabulary);
  std::vector<Chunk> chunks;
  for (int64_t begin = 0; begin < rows; begin += at_once) {
    const int64_t count = std::min(at_once, rows - begin);
    chunks.push_back({x.narrow(0, begin, count), targets.narrow(0, begin, count), begin});
  }
  return chunks;
}

struct HeadLoss : Function<HeadLoss> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& targets) {
    const std::vector<Chunk> chunks = chunks_of(x, targets, weight.size(0));
    double loss = 0;
    at::Tensor kept;
    for (const Chunk& chunk : chunks) {
      at::Tensor logits = at::mm(chunk.x, weight.t()).to(at::kFloat);
      loss += softmax_and_loss(logits, chunk.targets);
      if (chunks.size() == 1) kept = logits;
    }
    context->save_for_backward({x, weight, targets, kept});
    return at::full({}, loss, x.options().dtype(at::kFloat));
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &targets = saved[2];
    const float scale = gradients[0].item<float>();
    const bool trained = context->needs_input_grad(1);
    at::Tensor dx = context->needs_input_grad(0) ? at::empty(x.sizes(), x.options()) : at::Tensor();
    at::Tensor dw = trained ? gradient_place(weight) : at::Tensor();
    for (const Chunk& chunk : chunks_of(x, targets, weight.size(0))) {
      at::Tensor logits = saved[3];
      if (!logits.defined()) {
        logits = at::mm(chunk.x, weight.t()).to(at::kFloat);
        softmax_and_loss(logits, chunk.targets);
      }
      if (scale != 1.0f) logits = logits * scale;
      const at::Tensor dlogits = logits.to(x.scalar_type());
      if (dx.defined()) {
        at::Tensor part = dx.narrow(0, chunk.begin, chunk.x.size(0));
        at::mm_out(part, dlogits, weight);
      }
      if (trained) chunk.begin == 0 ? at::mm_out(dw, dlogits.t(), chunk.x) : dw.addmm_(dlogits.t(), chunk.x);
    }
    return {dx, dw, {}};
  }
};

}  // namespace

at::Tensor fused_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (vectorised(x) && weight.scalar_type() == x.scalar_type()) return RmsNorm::apply(x, weight, eps);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * at::rsqrt(wide.pow(2).mean({-1}, /*keepdim=*/true) + eps);
  return weight * scaled.to(x.scalar_type());
}

at::Tensor fused_rotate(const at::Tensor& x_BTNH, const at::Tensor& cos_TH, const at::Tensor& sin_TH) {
  const int64_t half = x_BTNH.size(-1) / 2;
  if (vectorised(x_BTNH) && half % kLanes == 0 && x_BTNH.stride(-1) == 1) return Rotate::apply(x_BTNH, cos_TH, sin_TH);
  const auto type = x_BTNH.scalar_type();
  const at::Tensor turned = at::cat({-x_BTNH.narrow(-1, half, half), x_BTNH.narrow(-1, 0, half)}, -1);
  return x_BTNH * cos_TH.unsqueeze(1).to(type) + turned * sin_TH.unsqueeze(1).to(type);
}

at::Tensor fused_swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (vectorised(gate)) return SwiGlu::apply(gate, up);
  return at::silu(gate) * up;
}

std::vector<at::Tensor> fused_linears(const at::Tensor& x, const std::vector<at::Tensor>& weights) {
  return Linears::apply(x, at::TensorList(weights));
}

at::Tensor fused_linear_add(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& residual) {
  return LinearAdd::apply(x, weight, residual);
}

at::Tensor fused_embedding(const at::Tensor& table_VD, const at::Tensor& ids) {
  return Embedding::apply(table_VD, ids);
}

at::Tensor fused_head_loss(const at::Tensor& x_nD, const at::Tensor& weight_VD, const at::Tensor& targets_n) {
  if (x_nD.size(0) == 0) return at::zeros({}, x_nD.options().dtype(at::kFloat));
  return HeadLoss::apply(x_nD, weight_VD, targets_n);
}

}  // namespace tephra::model
