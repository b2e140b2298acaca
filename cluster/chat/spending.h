// Money of requests to an endpoint: what may be spent, is spent, and is still to be settled. Amounts are USD.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include "base/status.h"

namespace tephra::cluster {

struct ChatPrices {
  double prompt_per_million = 0;  // USD for a million tokens
  double reply_per_million = 0;
  double cost(int64_t prompt_tokens, int64_t reply_tokens) const {
    return (static_cast<double>(prompt_tokens) * prompt_per_million +
            static_cast<double>(reply_tokens) * reply_per_million) /
           1e6;
  }
};

// Any thread. A request is begun only when the most it can cost still fits beside what is spent and what is under way, so
// the limit is never passed (by an endpoint that counts what it was sent: hidden prompts of its own are not foreseen).
class Spending {
 public:
  explicit Spending(double limit) : limit_(limit) {}  // 0: none

  // Waits until `amount` fits. kNoSpace: it does not, and nothing is under way whose settling could change that.
  // kCancelled: as `cancelled`, asked ten times a second, said.
  Status reserve(double amount, const std::function<bool()>& cancelled);
  void settle(double reserved, double actual);
  void add_spent(double amount);  // by an earlier process
  double spent() const;

 private:
  const double limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  double spent_ = 0;
  double reserved_ = 0;
  int under_way_ = 0;
};

}  // namespace tephra::cluster
