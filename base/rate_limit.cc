#include "base/rate_limit.h"

#include <algorithm>

namespace tephra {

RateLimit::Bucket& RateLimit::bucket(const std::string& client, double now_seconds) {
  auto found = buckets_.find(client);
  if (found == buckets_.end()) {
    if (buckets_.size() >= clients_max_)
      buckets_.erase(std::min_element(buckets_.begin(), buckets_.end(),
                                      [](const auto& a, const auto& b) { return a.second.at < b.second.at; }));
    found = buckets_.emplace(client, Bucket{burst_, now_seconds}).first;
  }
  Bucket& it = found->second;
  it.tokens = std::min(burst_, it.tokens + std::max(0.0, now_seconds - it.at) * per_second_);
  it.at = now_seconds;
  return it;
}

double RateLimit::take(const std::string& client, double now_seconds, double cost) {
  std::lock_guard lock(mutex_);
  Bucket& it = bucket(client, now_seconds);
  if (it.tokens < cost) return (cost - it.tokens) / per_second_;
  it.tokens -= cost;
  return 0;
}

void RateLimit::charge(const std::string& client, double now_seconds, double cost) {
  std::lock_guard lock(mutex_);
  Bucket& it = bucket(client, now_seconds);
  it.tokens = std::max(-burst_, it.tokens - cost);
}

}  // namespace tephra
