#include "storage/index/retention.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/text.h"

namespace tephra::storage {
namespace {

std::optional<double> metric_of(const CheckpointInfo& info, const std::string& metric) {
  const auto found = info.header.metrics.find(metric);
  if (found == info.header.metrics.end() || !std::isfinite(found->second)) return std::nullopt;
  return found->second;
}

std::string age_text(int64_t ms) {
  const int64_t minutes = ms / 60000, hours = minutes / 60, days = hours / 24;
  if (days > 0 && hours % 24 == 0) return std::to_string(days) + " d";
  if (hours > 0 && minutes % 60 == 0) return std::to_string(hours) + " h";
  if (minutes > 0 && ms % 60000 == 0) return std::to_string(minutes) + " min";
  return fixed(static_cast<double>(ms) / 1000, 0) + " s";
}

class Retention {
 public:
  Retention(const std::vector<CheckpointInfo>& checkpoints, const RetentionPolicy& policy, int64_t now_ms)
      : checkpoints_(checkpoints), policy_(policy), now_ms_(now_ms), verdicts_(checkpoints.size()) {
    for (size_t i = 0; i < checkpoints.size(); ++i) {
      verdicts_[i] = {checkpoints[i].name, true, "", checkpoints[i].header.new_bytes};
      stages_[{checkpoints[i].header.job, checkpoints[i].header.stage}].push_back(i);
    }
    for (auto& [stage, indices] : stages_)
      std::sort(indices.begin(), indices.end(), [&](size_t a, size_t b) { return step(a) > step(b); });
  }

  std::vector<RetentionVerdict> run(const std::map<std::string, std::string>& protected_names) {
    std::vector<bool> fixed_ones(checkpoints_.size(), false);
    for (const auto& [stage, newest_first] : stages_) {
      want_stage(newest_first);
      fixed_ones[newest_first.front()] = true;
      verdicts_[newest_first.front()].keep = true;
      verdicts_[newest_first.front()].reason = "newest of its stage";
    }
    for (size_t i = 0; i < checkpoints_.size(); ++i) {
      const auto found = protected_names.find(checkpoints_[i].name);
      const bool imported = checkpoints_[i].header.job == "base";
      if (found == protected_names.end() && !imported) continue;
      fixed_ones[i] = true;
      verdicts_[i].keep = true;
      verdicts_[i].reason = imported ? "an imported model" : found->second;
    }
    limit_age(fixed_ones);
    limit_bytes(fixed_ones);
    return std::move(verdicts_);
  }

 private:
  int64_t step(size_t i) const { return checkpoints_[i].header.step; }

  void want(size_t i, const std::string& reason) {
    RetentionVerdict& verdict = verdicts_[i];
    verdict.reason = verdict.keep ? verdict.reason + ", " + reason : reason;
    verdict.keep = true;
  }

  void want_stage(const std::vector<size_t>& newest_first) {
    if (policy_.last == 0 && policy_.best == 0 && policy_.every_steps == 0) {
      for (size_t i : newest_first) verdicts_[i].reason = "no rule lets it go";
      return;
    }
    for (size_t i : newest_first) {
      verdicts_[i].keep = false;
      verdicts_[i].reason = "no rule keeps it";
    }
    for (size_t n = 0; n < newest_first.size() && n < static_cast<size_t>(policy_.last); ++n)
      want(newest_first[n], "among the newest " + std::to_string(policy_.last));
    std::vector<size_t> ranked;
    for (size_t i : newest_first)
      if (metric_of(checkpoints_[i], policy_.metric)) ranked.push_back(i);
    std::stable_sort(ranked.begin(), ranked.end(), [&](size_t a, size_t b) {
      const double left = *metric_of(checkpoints_[a], policy_.metric),
                   right = *metric_of(checkpoints_[b], policy_.metric);
      return policy_.largest_is_best ? left > right : left < right;
    });
    for (size_t n = 0; n < ranked.size() && n < static_cast<size_t>(policy_.best); ++n)
      want(ranked[n], "among the best " + std::to_string(policy_.best) + " by " + policy_.metric);
    if (policy_.every_steps == 0) return;
    for (size_t i : newest_first)
      if (step(i) % policy_.every_steps == 0) want(i, "step is a multiple of " + std::to_string(policy_.every_steps));
  }

  void limit_age(const std::vector<bool>& fixed_ones) {
    if (policy_.max_age_ms == 0) return;
    for (size_t i = 0; i < checkpoints_.size(); ++i) {
      if (fixed_ones[i] || !verdicts_[i].keep) continue;
      if (now_ms_ - checkpoints_[i].header.created_unix_ms <= policy_.max_age_ms) continue;
      verdicts_[i].keep = false;
      verdicts_[i].reason = "older than " + age_text(policy_.max_age_ms);
    }
  }

  void limit_bytes(const std::vector<bool>& fixed_ones) {
    if (policy_.max_bytes == 0) return;
    uint64_t kept = 0;
    std::vector<size_t> oldest_first;
    for (size_t i = 0; i < checkpoints_.size(); ++i) {
      if (!verdicts_[i].keep || checkpoints_[i].header.job == "base") continue;
      kept += verdicts_[i].bytes;
      if (!fixed_ones[i]) oldest_first.push_back(i);
    }
    std::stable_sort(oldest_first.begin(), oldest_first.end(), [&](size_t a, size_t b) {
      const Manifest &left = checkpoints_[a].header, &right = checkpoints_[b].header;
      return std::pair(left.created_unix_ms, left.step) < std::pair(right.created_unix_ms, right.step);
    });
    for (size_t i : oldest_first) {
      if (kept <= policy_.max_bytes) return;
      kept -= verdicts_[i].bytes;
      verdicts_[i].keep = false;
      verdicts_[i].reason = "all together are more than " + human_bytes(static_cast<double>(policy_.max_bytes));
    }
  }

  const std::vector<CheckpointInfo>& checkpoints_;
  const RetentionPolicy& policy_;
  const int64_t now_ms_;
  std::vector<RetentionVerdict> verdicts_;
  std::map<std::pair<std::string, std::string>, std::vector<size_t>> stages_;  // newest first
};

}  // namespace

std::vector<RetentionVerdict> retain(const std::vector<CheckpointInfo>& checkpoints, const RetentionPolicy& policy,
                                     const std::map<std::string, std::string>& protected_names, int64_t now_unix_ms) {
  return Retention(checkpoints, policy, now_unix_ms).run(protected_names);
}

const CheckpointInfo* best_of(const std::vector<CheckpointInfo>& checkpoints, const std::string& metric,
                              bool largest_is_best) {
  const CheckpointInfo* best = nullptr;
  for (const CheckpointInfo& info : checkpoints) {
    const auto value = metric_of(info, metric);
    if (!value) continue;
    const double held = best == nullptr ? 0 : *metric_of(*best, metric);
    const bool better = best == nullptr || (largest_is_best ? *value > held : *value < held) ||
                        (*value == held && info.header.step > best->header.step);
    if (better) best = &info;
  }
  return best;
}

}  // namespace tephra::storage
