#include "worker/skipped_steps.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tephra::worker {
namespace {

std::string ordinal(int64_t n) {
  const bool teen = n / 10 % 10 == 1;
  const char* ending = teen || n % 10 > 3 || n % 10 == 0 ? "th" : n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : "rd";
  return std::to_string(n) + ending;
}

}  // namespace

std::vector<size_t> suspects(const sharding::StepStats& stats) {
  std::vector<size_t> found;
  for (size_t m = 0; m < stats.micro_batch_losses.size(); ++m)
    if (!std::isfinite(stats.micro_batch_losses[m])) found.push_back(m);
  if (found.empty()) {
    found.resize(stats.micro_batch_losses.size());
    std::iota(found.begin(), found.end(), size_t{0});
  }
  return found;
}

std::string suspect_ids(const std::vector<size_t>& suspects, const StepSamples& samples, size_t first) {
  std::string ids;
  for (const size_t m : suspects) {
    if (m < first || m >= first + samples.size()) continue;
    for (const TrainingSample& sample : samples[m - first]) ids += (ids.empty() ? "" : ", ") + sample.id;
  }
  return ids;
}

Result<std::string> SkippedSteps::skipped(int64_t step, const sharding::StepStats& stats,
                                          const std::vector<std::string>& samples) {
  const std::string where = "step " + std::to_string(step) + " of stage " + stage_ + ": ";
  if (stats.loss_tokens == 0) return where + "no supervised token, so nothing to learn; the update was skipped";
  ++in_a_row_;
  std::string ids;
  for (const std::string& of_rank : samples) ids += (ids.empty() || of_rank.empty() ? "" : ", ") + of_rank;
  const size_t all = stats.micro_batch_losses.size(), at_fault = suspects(stats).size();
  const bool loss = !std::isfinite(stats.loss);
  const std::string what =
      loss ? "the loss of " + std::to_string(at_fault) + " of " + std::to_string(all) + " micro-batches is not finite"
           : "the losses are finite and their gradient is not";
  if (fails_)
    return Status(Code::kInvalidArgument, RetryClass::kPermanent,
                  where + what + ", and on_nonfinite is fail; lower the learning rate, or look at the samples: " + ids);
  if (in_a_row_ > limit_)
    return Status(Code::kInvalidArgument, RetryClass::kPermanent,
                  where + what + ", the " + ordinal(in_a_row_) + " such step in a row, and max_skipped_steps is " +
                      std::to_string(limit_) + "; lower the learning rate, or look at the samples: " + ids);
  return where + what + "; the update was skipped (" + std::to_string(in_a_row_) + " in a row, at most " +
         std::to_string(limit_) + "); samples: " + ids;
}

}  // namespace tephra::worker
