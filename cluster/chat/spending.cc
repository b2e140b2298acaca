#include "cluster/chat/spending.h"

#include <cstdio>

namespace tephra::cluster {

Status Spending::reserve(double amount, const std::function<bool()>& cancelled) {
  std::unique_lock lock(mutex_);
  while (limit_ > 0 && spent_ + reserved_ + amount > limit_) {
    if (under_way_ == 0) {
      char text[160];
      std::snprintf(
          text, sizeof text,
          "the spending limit is reached: %.4f USD are spent, the next request could cost %.4f, the limit is %.4f",
          spent_, amount, limit_);
      return {Code::kNoSpace, text};
    }
    changed_.wait_for(lock, std::chrono::milliseconds(100));
    if (cancelled && cancelled()) return {Code::kCancelled, "given up while waiting for other requests to be settled"};
  }
  reserved_ += amount;
  ++under_way_;
  return ok_status();
}

void Spending::settle(double reserved, double actual) {
  {
    std::lock_guard lock(mutex_);
    --under_way_;
    reserved_ = under_way_ == 0 ? 0 : reserved_ - reserved;  // no rounding is left behind
    spent_ += actual;
  }
  changed_.notify_all();
}

void Spending::add_spent(double amount) {
  std::lock_guard lock(mutex_);
  spent_ += amount;
}

double Spending::spent() const {
  std::lock_guard lock(mutex_);
  return spent_;
}

}  // namespace tephra::cluster
