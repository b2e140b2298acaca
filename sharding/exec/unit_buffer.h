// A unit's full parameters: one storage whose memory comes and goes, and one tensor per TensorSpec made once on it.
// Tensors that the autograd tape saved share that storage, so after a free and a new gather they see the parameters
// again. Threading: the compute thread.
#pragma once

#include <vector>

#include "sharding/exec/aten.h"
#include "sharding/exec/block_pool.h"
#include "sharding/plan/unit.h"

namespace tephra::sharding {

class UnitBuffer {
 public:
  explicit UnitBuffer(const UnitSpec& unit);

  void attach(Block block);  // flat_numel elements of the unit's compute_dtype, owned until detach()
  void attach(void* shard);  // borrowed: on one rank the shard is the unit
  void detach();
  bool attached() const { return attached_; }
  int64_t owned_count() const { return block_.count(); }  // floats; 0 when borrowed

  // In the order and shapes of the unit's tensors; leaves that require a gradient when the unit is trainable. Reading
  // them is allowed between attach and detach only.
  const std::vector<at::Tensor>& parameters() const { return parameters_; }
  // Lets each parameter's grad() be its place in `flat` (flat_numel floats, borrowed until called again), where modules may write its
  // gradient; nullptr: undefined again. Nothing for units that do not compute in float32.
  void place_gradients(float* flat);
  bool owns(const at::Tensor& tensor) const { return tensor.defined() && tensor.storage().is_alias_of(storage_); }

 private:
  void point_to(void* data);

  const at::ScalarType type_;
  std::vector<int64_t> offsets_;  // of the parameters
  c10::Storage storage_;
  std::vector<at::Tensor> parameters_;
  Block block_;
  bool attached_ = false;
};

}  // namespace tephra::sharding
