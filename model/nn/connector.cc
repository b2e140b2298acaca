#include "model/nn/connector.h"

#include "model/spec/units.h"
#include "sharding/exec/aten.h"

namespace tephra::model {

at::Tensor connect(Parameters p, const at::Tensor& features_IPD, const ConnectorConfig& config) {
  at::Tensor x = at::linear(features_IPD, p[kLinear1Weight], p[kLinear1Bias]);
  if (config.kind == "linear") return x;
  return at::linear(at::gelu(x), p[kLinear2Weight], p[kLinear2Bias]);
}

}  // namespace tephra::model
