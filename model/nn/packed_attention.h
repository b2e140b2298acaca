// Causal attention of sequences that lie end to end in one row: each place sees those before it in its own sequence. What padding would
// cost is saved, and no sequence sees another (the "variable length" attention of Dao 2023, here a call of LibTorch's for each).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace tephra::model {

// q, k, v: [1, N, T, H], on the CPU, contiguous in the last dimension. `lengths` sum to T, each above 0. Gives [1, N, T, H], as a view of
// a contiguous [1, T, N, H]. Kept for backward: the inputs, the result and N * T floats.
at::Tensor packed_causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   std::span<const int64_t> lengths);

}  // namespace tephra::model
