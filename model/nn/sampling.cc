#include "model/nn/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/nn/lanes.h"

namespace tephra::model {
namespace {

void penalize(std::span<float> logits, std::span<const int32_t> seen, double penalty) {
  if (penalty == 1) return;
  for (const int32_t id : std::set<int32_t>(seen.begin(), seen.end())) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    float& value = logits[static_cast<size_t>(id)];
    value = static_cast<float>(value < 0 ? value * penalty : value / penalty);
  }
}

// The first of the highest logits; std::max_element compares one after another, which takes a tenth of a decoding step.
size_t highest(std::span<const float> logits) {
  Lanes high = Lanes{} - std::numeric_limits<float>::infinity(), other = high;
  size_t i = 0;
  for (; i + 2 * kLanes <= logits.size(); i += 2 * kLanes) {
    high = larger(high, load(&logits[i]));
    other = larger(other, load(&logits[i + kLanes]));
  }
  float best = max(larger(high, other));
  for (; i < logits.size(); ++i) best = std::max(best, logits[i]);
  const auto found = std::find(logits.begin(), logits.end(), best);
  return found == logits.end() ? 0 : static_cast<size_t>(found - logits.begin());  // none: all NaN
}

// Ids by falling logit, the lower id first among equals; only the first `count` are in order and of use.
std::vector<int32_t> most_probable(std::span<const float> logits, size_t count) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(),
                    [&](int32_t a, int32_t b) {
                      const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
                      return x != y ? x > y : a < b;
                    });
  order.resize(count);
  return order;
}

Status out_of_range(const char* name, double value, const char* range) {
  return {Code::kInvalidArgument, std::string(name) + " is " + std::to_string(value) + ", not " + range};
}

}  // namespace

Status check_sampling(const Sampling& s) {
  if (!(s.temperature >= 0) || !std::isfinite(s.temperature))
    return out_of_range("temperature", s.temperature, "0 (greedy) or above");
  if (!(s.top_p > 0) || s.top_p > 1) return out_of_range("top-p", s.top_p, "above 0 and at most 1");
  if (s.top_k < 0) return out_of_range("top-k", static_cast<double>(s.top_k), "0 (off) or above");
  if (!(s.repetition_penalty > 0) || !std::isfinite(s.repetition_penalty))
    return out_of_range("repetition penalty", s.repetition_penalty, "above 0 (1: off)");
  return ok_status();
}

int32_t next_token(std::span<float> logits, std::span<const int32_t> seen, const Sampling& s, uint64_t key,
                   uint64_t index) {
  penalize(logits, seen, s.repetition_penalty);
  const size_t best = highest(logits);
  if (s.temperature <= 0) return static_cast<int32_t>(best);
  const size_t candidates = s.top_k > 0 ? std::min(static_cast<size_t>(s.top_k), logits.size()) : logits.size();
  const std::vector<int32_t> order = most_probable(logits, candidates);
  std::vector<double> weights;
  for (const int32_t id : order)
    weights.push_back(std::exp((static_cast<double>(logits[static_cast<size_t>(id)]) - logits[best]) / s.temperature));
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0;
  size_t count = 0;
  while (count < order.size() && (count == 0 || kept < s.top_p * total)) kept += weights[count++];
  double at = random_unit({s.seed, key, index}) * kept;
  for (size_t i = 0; i + 1 < count; ++i)
    if ((at -= weights[i]) < 0) return order[i];
  return order[count - 1];
}

}  // namespace tephra::model
