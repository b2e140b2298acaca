#include "model/spec/lora.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

namespace tephra::model {
namespace {

constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight", kWeight = ".weight";

class MergedSource : public TensorSource {
 public:
  MergedSource(const TensorSource& model, const LoraConfig& lora)
      : model_(model), rank_(lora.rank), scale_(static_cast<float>(lora.scale())) {}

  Status open() {
    for (const TensorInfo& info : model_.tensors()) {
      if (info.name.ends_with(kA) || info.name.ends_with(kB)) {
        adapted_.insert(info.name.substr(0, info.name.size() - kA.size()) + std::string(kWeight));
      } else {
        tensors_.push_back(info);
      }
    }
    if (adapted_.empty()) return {Code::kInvalidArgument, "the model holds no adapters (lora_A, lora_B) to merge"};
    for (const std::string& weight : adapted_) TEPHRA_RETURN_IF_ERROR(check(weight));
    for (TensorInfo& info : tensors_)
      if (adapted_.contains(info.name)) info.dtype = DType::kFloat32;
    return ok_status();
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }

  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override {
    TEPHRA_RETURN_IF_ERROR(model_.read_float32(name, begin, count, out));
    return count > 0 && adapted_.contains(name) ? add_product(name, begin, count, out) : ok_status();
  }

  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override {
    if (!adapted_.contains(name)) return model_.read_bytes(name, begin, count, out);
    std::vector<float> values(static_cast<size_t>(std::max<int64_t>(count, 0)));
    TEPHRA_RETURN_IF_ERROR(read_float32(name, begin, count, values.data()));
    if (count > 0) std::memcpy(out, values.data(), values.size() * sizeof(float));
    return ok_status();
  }

 private:
  Status check(const std::string& weight) const {
    const TensorInfo* w = model_.find(weight);
    const TensorInfo* a = model_.find(lora_name(weight, 'A'));
    const TensorInfo* b = model_.find(lora_name(weight, 'B'));
    if (w == nullptr || a == nullptr || b == nullptr)
      return {Code::kInvalidArgument, "the adapter of " + weight + " is not whole: the model lacks " +
                                          (w == nullptr   ? weight
                                           : a == nullptr ? lora_name(weight, 'A')
                                                          : lora_name(weight, 'B'))};
    if (w->shape.size() != 2 || a->shape != Shape{rank_, w->shape[1]} || b->shape != Shape{w->shape[0], rank_})
      return {Code::kInvalidArgument, "the adapter of " + weight + " " + to_string(w->shape) + " has shapes " +
                                          to_string(a->shape) + " and " + to_string(b->shape) +
                                          ", which do not fit it at rank " + std::to_string(rank_)};
    return ok_status();
  }

  // Row by row, each the sum over the rank in order, so that the values do not depend on the ranges asked for.
  Status add_product(const std::string& weight, int64_t begin, int64_t count, float* out) const {
    const int64_t in = model_.find(weight)->shape[1], end = begin + count;
    const int64_t first = begin / in, rows = (end - 1) / in + 1 - first;
    std::vector<float> a(static_cast<size_t>(rank_ * in)), b(static_cast<size_t>(rows * rank_)),
        sum(static_cast<size_t>(in));
    TEPHRA_RETURN_IF_ERROR(model_.read_float32(lora_name(weight, 'A'), 0, rank_ * in, a.data()));
    TEPHRA_RETURN_IF_ERROR(model_.read_float32(lora_name(weight, 'B'), first * rank_, rows * rank_, b.data()));
    for (int64_t row = 0; row < rows; ++row) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (int64_t r = 0; r < rank_; ++r) {
        const float factor = b[static_cast<size_t>(row * rank_ + r)];
        const float* values = a.data() + r * in;
        for (int64_t i = 0; i < in; ++i) sum[static_cast<size_t>(i)] += factor * values[i];
      }
      const int64_t start = (first + row) * in;
      for (int64_t at = std::max(begin, start); at < std::min(end, start + in); ++at)
        out[at - begin] += scale_ * sum[static_cast<size_t>(at - start)];
    }
    return ok_status();
  }

  const TensorSource& model_;
  const int64_t rank_;
  const float scale_;
  std::set<std::string> adapted_;  // names of weights
  std::vector<TensorInfo> tensors_;
};

}  // namespace

std::string lora_name(const std::string& weight, char which) {
  return weight.substr(0, weight.size() - kWeight.size()) + std::string(which == 'A' ? kA : kB);
}

Result<std::unique_ptr<TensorSource>> merged_lora(const TensorSource& model, const LoraConfig& lora) {
  auto merged = std::make_unique<MergedSource>(model, lora);
  TEPHRA_RETURN_IF_ERROR(merged->open());
  return std::unique_ptr<TensorSource>(std::move(merged));
}

}  // namespace tephra::model
