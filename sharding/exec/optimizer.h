// Which optimizer updates the shards, and with what. Its arithmetic is in adamw.h and sgd.h.
#pragma once

namespace tephra::sharding {

enum class OptimizerKind {
  kAdamW,  // Loshchilov and Hutter 2019, as torch.optim.AdamW computes it
  kSgd,    // as torch.optim.SGD computes it
};

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // AdamW
  double momentum = 0;                                // SGD; 0: none
  bool nesterov = false;                              // SGD
  double weight_decay = 0;  // of tensors of two or more dimensions; AdamW's apart from the gradient, SGD's through it
  double clip_norm = 1.0;   // 0: no clipping; multiplies by min(1, clip / (norm + 1e-6))

  // Values kept for each parameter beside it: the moments; SGD's velocity counts as the first.
  int moments() const {
    if (kind == OptimizerKind::kAdamW) return 2;
    return momentum != 0 ? 1 : 0;
  }
};

}  // namespace tephra::sharding
