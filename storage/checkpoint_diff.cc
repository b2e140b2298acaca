#include "storage/checkpoint_diff.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tephra::storage {
namespace {

constexpr int64_t kBlock = 1 << 20;  // elements

TensorDifference compare_tables(const ManifestTensor* a, const ManifestTensor* b) {
  using How = TensorDifference::How;
  const ManifestTensor& any = a != nullptr ? *a : *b;
  TensorDifference out{.name = any.name, .kind = any.kind};
  if (a != nullptr) {
    out.dtype_a = a->dtype;
    out.shape_a = a->shape;
  }
  if (b != nullptr) {
    out.dtype_b = b->dtype;
    out.shape_b = b->shape;
  }
  if (b == nullptr) {
    out.how = How::kOnlyInA;
  } else if (a == nullptr) {
    out.how = How::kOnlyInB;
  } else if (a->dtype != b->dtype || a->shape != b->shape) {
    out.how = How::kType;
  } else {
    out.how = a->content == b->content ? How::kEqual : How::kValues;
  }
  return out;
}

// Both tables are sorted by (name, kind), so one walk pairs them.
std::vector<TensorDifference> pair_up(const Manifest& a, const Manifest& b, bool moments) {
  std::vector<TensorDifference> out;
  const auto key = [](const ManifestTensor& t) { return std::pair<std::string_view, StateKind>(t.name, t.kind); };
  size_t i = 0, j = 0;
  while (i < a.tensors.size() || j < b.tensors.size()) {
    const ManifestTensor* left = i < a.tensors.size() ? &a.tensors[i] : nullptr;
    const ManifestTensor* right = j < b.tensors.size() ? &b.tensors[j] : nullptr;
    if (left != nullptr && right != nullptr && key(*left) != key(*right))
      (key(*left) < key(*right) ? right : left) = nullptr;
    i += left != nullptr ? 1 : 0;
    j += right != nullptr ? 1 : 0;
    if (moments || (left != nullptr ? left : right)->kind == StateKind::kParameter)
      out.push_back(compare_tables(left, right));
  }
  return out;
}

class ValueDiff {
 public:
  ValueDiff(const CheckpointReader& a, const CheckpointReader& b) : a_(a), b_(b) {}

  template <class Told>
  Status run(TensorDifference* out, const Told& told) {
    double squares = 0, squares_a = 0;
    const int64_t total = numel(out->shape_a);
    for (int64_t begin = 0; begin < total; begin += kBlock) {
      const int64_t count = std::min(kBlock, total - begin);
      left_.resize(static_cast<size_t>(count));
      right_.resize(static_cast<size_t>(count));
      TEPHRA_RETURN_IF_ERROR(a_.read_state_float32(out->name, out->kind, begin, count, left_.data()));
      TEPHRA_RETURN_IF_ERROR(b_.read_state_float32(out->name, out->kind, begin, count, right_.data()));
      for (size_t i = 0; i < left_.size(); ++i) {
        const double before = left_[i], change = static_cast<double>(right_[i]) - before;
        squares += change * change;
        squares_a += before * before;
        // A NaN is the largest of all.
        if (!(std::abs(change) <= out->max_abs) && !std::isnan(out->max_abs)) out->max_abs = std::abs(change);
      }
      told(static_cast<uint64_t>(count * size_bytes(out->dtype_a)));
    }
    out->l2 = std::sqrt(squares);
    out->relative = squares_a > 0 ? out->l2 / std::sqrt(squares_a) : out->l2;
    return ok_status();
  }

 private:
  const CheckpointReader &a_, &b_;
  std::vector<float> left_, right_;
};

}  // namespace

Result<std::vector<TensorDifference>> diff(const CheckpointReader& a, const CheckpointReader& b,
                                           const DiffOptions& options) {
  std::vector<TensorDifference> all = pair_up(a.manifest(), b.manifest(), options.moments);
  const auto to_read = [](const TensorDifference& d) { return d.how == TensorDifference::How::kValues; };
  uint64_t total = 0, done = 0;
  for (const TensorDifference& d : all)
    if (to_read(d)) total += static_cast<uint64_t>(numel(d.shape_a) * size_bytes(d.dtype_a));
  ValueDiff values(a, b);
  for (TensorDifference& d : all) {
    if (!to_read(d)) continue;
    TEPHRA_RETURN_IF_ERROR(values.run(&d, [&](uint64_t bytes) {
      done += bytes;
      if (options.progress) options.progress(done, total);
    }));
  }
  return all;
}

}  // namespace tephra::storage
