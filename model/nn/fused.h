// What stands between a decoder block's matrix products, each as one pass over memory in place of LibTorch's several, with its
// gradient: norms, rotation, the gate, products that share their input, embedding, and the head with its loss. float32 and bfloat16 on
// the CPU, sums in float32; anything else (other dtypes, devices, widths that 8 does not divide) goes through LibTorch operation by
// operation, with the same result but for rounding.
//
// Gradients of weights are written to where the weight's own .grad() lies when it is defined (sharding/exec sets it to the place in
// the flat gradient buffer), and that same tensor is returned; without one they are new tensors. A gradient place holds rubbish before
// and is written whole.
//
// Bits: every result is a function of its inputs and the number of threads; sums over rows are made in blocks of a fixed number of rows.
// Threading: any; LibTorch's threads are used. Shapes as in llama.h; "rows" are all dimensions but the last.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/spec/units.h"

namespace tephra::model {

// x * rsqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019). What is kept for backward: x, and a float a row.
at::Tensor fused_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Rotary embedding (Su et al. 2021), halves paired as Hugging Face does. x_BTNH: contiguous in its last dimension. cos_TH, sin_TH: float32,
// one row a place. Nothing but the tables is kept.
at::Tensor fused_rotate(const at::Tensor& x_BTNH, const at::Tensor& cos_TH, const at::Tensor& sin_TH);

// silu(gate) * up (SwiGLU; Shazeer 2020).
at::Tensor fused_swiglu(const at::Tensor& gate, const at::Tensor& up);

// x @ w^T for each weight; the gradient of x is summed over them inside the products. x is kept for backward only where a weight learns.
std::vector<at::Tensor> fused_linears(const at::Tensor& x, const std::vector<at::Tensor>& weights);
// residual + x @ w^T.
at::Tensor fused_linear_add(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& residual);

// Rows of table_VD; the table's gradient is summed in the order of ids.
at::Tensor fused_embedding(const at::Tensor& table_VD, const at::Tensor& ids);

// Sum over n rows of -log softmax(x @ w^T)[target], a float32 scalar. At most kLogitsAtOnce (model/spec/units.h) logits exist at any time: where one chunk of
// rows holds them all they are kept for backward, else backward computes them again, chunk by chunk.
at::Tensor fused_head_loss(const at::Tensor& x_nD, const at::Tensor& weight_VD, const at::Tensor& targets_n);

}  // namespace tephra::model
