// From image features to language-space tokens.
#pragma once

#include "model/nn/clip.h"

namespace tephra::model {

// features_IPD [I, P, in] -> [I, P, out]. mlp2x_gelu's activation is the exact (erf) GELU.
at::Tensor connect(Parameters p, const at::Tensor& features_IPD, const ConnectorConfig& config);

}  // namespace tephra::model
