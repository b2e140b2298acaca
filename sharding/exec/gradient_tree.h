// The local part of the fixed binary tree that sums a unit's gradients over micro-batches (plan/schedule.h,
// tree_merges); the reduce-scatter continues it over ranks. Full-size partial sums: about log2 of the number of
// micro-batches at once. Threading: the compute thread.
#pragma once

#include <vector>

#include "sharding/exec/aten.h"
#include "sharding/exec/block_pool.h"
#include "sharding/plan/schedule.h"

namespace tephra::sharding {

class GradientTree {
 public:
  // `unit` and `pool` outlive the tree. leaves: micro-batches of a step.
  GradientTree(const UnitSpec* unit, BlockPool* pool, int leaves)
      : unit_(unit), pool_(pool), merges_(tree_merges(leaves)) {}

  // A buffer for the next micro-batch's gradients, flat_numel floats, for whoever can write them to their places himself. The gaps
  // between tensors are zero, the rest is not initialised.
  Block make_leaf() const;
  // Adds the next micro-batch: gradients, one per tensor of the unit, are brought into `leaf`, from make_leaf(), unless they lie
  // there already; an undefined one is zero.
  void add(Block leaf, const std::vector<at::Tensor>& gradients);
  // The sum over all leaves, flat_numel floats with zeros in the gaps; every leaf must have been added. Empties the
  // tree.
  Block take();
  void reset();
  int64_t held_count() const { return std::ssize(partial_sums_) * unit_->flat_numel; }  // floats

 private:
  void merge_top();

  const UnitSpec* unit_;
  BlockPool* pool_;
  std::vector<int> merges_;
  std::vector<Block> partial_sums_;
  size_t leaves_added_ = 0;
};

}  // namespace tephra::sharding
