#include "sharding/exec/unit_buffer.h"

namespace tephra::sharding {

UnitBuffer::UnitBuffer(const UnitSpec& unit)
    : type_(unit.compute_dtype == DType::kFloat32 ? at::kFloat : at::kBFloat16),
      storage_(c10::Storage::use_byte_size_t(), gathered_bytes(unit), at::DataPtr(nullptr, at::Device(at::kCPU)),
               /*allocator=*/nullptr, /*resizable=*/false) {
  for (const TensorSpec& spec : unit.tensors) {
    // Made by hand: from_blob would tie the tensor to one address, and a view of a flat tensor would tie all of them to
    // one autograd version counter.
    at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
        c10::Storage(storage_), c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(type_));
    tensor.unsafeGetTensorImpl()->set_storage_offset(spec.offset);
    tensor.unsafeGetTensorImpl()->set_sizes_contiguous(spec.shape);
    tensor.set_requires_grad(unit.trainable);
    parameters_.push_back(std::move(tensor));
    offsets_.push_back(spec.offset);
  }
}

void UnitBuffer::attach(Block block) {
  block_ = std::move(block);
  point_to(block_.data());
}

void UnitBuffer::attach(void* shard) {
  block_ = Block();
  point_to(shard);
}

void UnitBuffer::detach() {
  point_to(nullptr);
  block_ = Block();
}

void UnitBuffer::place_gradients(float* flat) {
  if (type_ != at::kFloat) return;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].mutable_grad() =
        flat == nullptr ? at::Tensor() : at::from_blob(flat + offsets_[i], parameters_[i].sizes(), at::kFloat);
  }
}

void UnitBuffer::point_to(void* data) {
  storage_.set_data_ptr_noswap(at::DataPtr(data, at::Device(at::kCPU)));
  attached_ = data != nullptr;
}

}  // namespace tephra::sharding
