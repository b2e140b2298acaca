#include "sharding/exec/gradient_tree.h"

#include <algorithm>

#include "base/check.h"

namespace tephra::sharding {
namespace {

constexpr int64_t kGrain = 1 << 16;

void bring(const at::Tensor& gradient, const TensorSpec& spec, float* to) {
  if (!gradient.defined()) return void(std::fill_n(to, numel(spec.shape), 0.0f));
  TEPHRA_CHECK(gradient.numel() == numel(spec.shape), "the gradient of " + spec.name + " is not of the tensor's shape");
  if (gradient.const_data_ptr() == to) return;
  at::from_blob(to, gradient.sizes(), at::kFloat).copy_(gradient);
}

}  // namespace

Block GradientTree::make_leaf() const {
  Block leaf = pool_->acquire(unit_->flat_numel);
  int64_t written = 0;
  for (const TensorSpec& spec : unit_->tensors) {
    std::fill(leaf.data() + written, leaf.data() + spec.offset, 0.0f);
    written = spec.offset + numel(spec.shape);
  }
  std::fill(leaf.data() + written, leaf.data() + unit_->flat_numel, 0.0f);
  return leaf;
}

void GradientTree::add(Block leaf, const std::vector<at::Tensor>& gradients) {
  TEPHRA_CHECK(gradients.size() == unit_->tensors.size(), "one gradient per tensor of " + unit_->name);
  TEPHRA_CHECK(leaves_added_ < merges_.size(), "more micro-batches than the tree of " + unit_->name + " has leaves");
  for (size_t t = 0; t < gradients.size(); ++t)
    bring(gradients[t], unit_->tensors[t], leaf.data() + unit_->tensors[t].offset);
  partial_sums_.push_back(std::move(leaf));
  for (int merges = merges_[leaves_added_++]; merges > 0; --merges) merge_top();
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

void GradientTree::merge_top() {
  const Block right = std::move(partial_sums_.back());
  partial_sums_.pop_back();
  float* to = partial_sums_.back().data();
  const float* from = right.data();
  at::parallel_for(0, unit_->flat_numel, kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] += from[i];
  });
}

}  // namespace tephra::sharding
