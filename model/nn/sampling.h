// The next token from its logits: greedy, or drawn after the filters of transformers' generate(), in its order.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"

namespace tephra::model {

struct Sampling {
  double temperature = 0;  // 0: greedy, the lowest id among equals
  int64_t top_k = 0;       // draws from so many most probable ids (Fan et al. 2018); 0: from all
  double top_p = 1;        // then from the fewest of them that together reach top_p (Holtzman et al. 2020)
  // Before all else: logits of ids that were seen are divided by this where positive, multiplied where negative (Keskar et
  // al. 2019). 1: left alone.
  double repetition_penalty = 1;
  uint64_t seed = 0;
};

// kInvalidArgument names the value that is out of range, and the range.
Status check_sampling(const Sampling& sampling);

// `seen`: ids of the prompt and of the reply so far; negative ones (image places) and repetitions do no harm. The draw is a
// pure function of (seed, key, index): `key` says whose reply it is, `index` is the new token's place in it. `logits` is
// changed by the penalty.
int32_t next_token(std::span<float> logits, std::span<const int32_t> seen, const Sampling& sampling, uint64_t key,
                   uint64_t index);

}  // namespace tephra::model
