#include "sharding/exec/gradient_tree.h"

#include <algorithm>

#include "base/check.h"

namespace tephra::sharding {
namespace {

constexpr int64_t kGrain = 1 << 16;

template <typename Each>
void for_elements(int64_t count, const Each& each) {
  at::parallel_for(0, count, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) each(i);
  });
}

at::Tensor checked(const at::Tensor& gradient, const TensorSpec& spec) {
  TEPHRA_CHECK(gradient.scalar_type() == at::kFloat && gradient.numel() == numel(spec.shape),
               "the gradient of " + spec.name + " is not float32 of the tensor's shape");
  return gradient.contiguous();
}

}  // namespace

void GradientTree::add(const std::vector<at::Tensor>& gradients) {
  TEPHRA_CHECK(gradients.size() == unit_->tensors.size(), "one gradient per tensor of " + unit_->name);
  TEPHRA_CHECK(leaves_added_ < merges_.size(), "more micro-batches than the tree of " + unit_->name + " has leaves");
  const int merges = merges_[leaves_added_++];
  if (merges == 0) return push_leaf(gradients);
  add_leaf(gradients);  // the first merge, without a buffer for the leaf
  for (int m = 1; m < merges; ++m) merge_top();
}

Block GradientTree::take() {
  TEPHRA_CHECK(leaves_added_ == merges_.size() && partial_sums_.size() == 1,
               "the sum of " + unit_->name + " is not complete");
  Block sum = std::move(partial_sums_.back());
  reset();
  return sum;
}

void GradientTree::reset() {
  partial_sums_.clear();
  leaves_added_ = 0;
}

void GradientTree::push_leaf(const std::vector<at::Tensor>& gradients) {
  Block block = pool_->acquire(unit_->flat_numel);
  float* flat = block.data();
  int64_t written = 0;
  for (size_t t = 0; t < gradients.size(); ++t) {
    const TensorSpec& spec = unit_->tensors[t];
    std::fill(flat + written, flat + spec.offset, 0.0f);
    written = spec.offset + numel(spec.shape);
    float* to = flat + spec.offset;
    if (gradients[t].defined()) {
      const at::Tensor gradient = checked(gradients[t], spec);
      const float* from = gradient.const_data_ptr<float>();
      for_elements(gradient.numel(), [=](int64_t i) { to[i] = from[i]; });
    } else {
      std::fill(to, flat + written, 0.0f);
    }
  }
  std::fill(flat + written, flat + unit_->flat_numel, 0.0f);
  partial_sums_.push_back(std::move(block));
}

void GradientTree::add_leaf(const std::vector<at::Tensor>& gradients) {
  for (size_t t = 0; t < gradients.size(); ++t) {
    const TensorSpec& spec = unit_->tensors[t];
    float* to = partial_sums_.back().data() + spec.offset;
    if (gradients[t].defined()) {
      const at::Tensor gradient = checked(gradients[t], spec);
      const float* from = gradient.const_data_ptr<float>();
      for_elements(gradient.numel(), [=](int64_t i) { to[i] += from[i]; });
    } else {
      // Not skipped: on another world size this zero is added by the reduce-scatter, and -0 + 0 is +0.
      for_elements(numel(spec.shape), [=](int64_t i) { to[i] += 0.0f; });
    }
  }
}

void GradientTree::merge_top() {
  const Block right = std::move(partial_sums_.back());
  partial_sums_.pop_back();
  float* to = partial_sums_.back().data();
  const float* from = right.data();
  for_elements(unit_->flat_numel, [=](int64_t i) { to[i] += from[i]; });
}

}  // namespace tephra::sharding
