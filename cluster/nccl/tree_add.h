// The one kernel of the reduce-scatter in a fixed tree.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace tephra::cluster {

// Queues out[i] = a[i] + b[i] for `count` floats of device memory; `out` may be `a` or `b`. IEEE single precision, round
// to nearest, subnormals kept: the bits of the host's sum, except that a NaN's payload becomes CUDA's own.
cudaError_t add_floats(const float* a, const float* b, float* out, size_t count, cudaStream_t stream);

}  // namespace tephra::cluster
