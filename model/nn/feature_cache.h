// What the frozen vision tower made of pictures, kept for the next time that they come up. Filled until it is full, and
// nothing is let go of then: pictures come in a new order in every pass, so the ones that are held are as likely to come
// next as any other. Threading: one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>

#include "base/hash.h"

namespace tephra::model {

struct LlavaBatch;

class FeatureCache {
 public:
  // Keeps tensors of at most `max_bytes` together. `tower`: a hash of whatever features depend on beside the picture's
  // values: the tower's weights, which of its layers, the numbers it computes in. Part of every key.
  FeatureCache(int64_t max_bytes, const Hash128& tower) : max_bytes_(max_bytes), tower_(tower) {}

  // Sets of `batch`, for each picture, its key, and its features where they are kept. What is not, the tower hands to
  // keep() when it has computed it. The cache outlives the batch.
  void look_up(LlavaBatch& batch);
  // Nothing where it does not fit any more, or is kept already. `features` are not written to afterwards.
  void keep(const Hash128& key, const at::Tensor& features);

  int64_t held_bytes() const { return held_bytes_; }
  int64_t found() const { return found_; }    // pictures that look_up() had features of
  int64_t missed() const { return missed_; }  // and those that it had not

 private:
  const int64_t max_bytes_;
  const Hash128 tower_;
  std::map<Hash128, at::Tensor> features_;
  int64_t held_bytes_ = 0, found_ = 0, missed_ = 0;
};

}  // namespace tephra::model
