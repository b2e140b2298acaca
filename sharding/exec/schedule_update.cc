// What ends a step: the norm, clipping, and the update, in place or of what is offloaded.
#include <algorithm>
#include <cmath>
#include <exception>

#include "sharding/exec/schedule_executor.h"

namespace tephra::sharding {
namespace {

// A unit's elements fall into this many segments for the gradient norm, at every world size.
constexpr int64_t kSegments = kMaxWorldSize;

}  // namespace

std::vector<double> ScheduleExecutor::local_squared_sums() const {
  const int64_t segments = kSegments / policy_.world_size;
  std::vector<double> sums(trainable_units_ * segments);
  double* next = sums.data();
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    // Where several ranks have the same gradient, each still answers for its own part.
    const int64_t begin = holding_.part * shard_numel(units_[u], holding_.parts) -
                          holding_.shard * shard_numel(units_[u], holding_.shards);
    squared_sums(gradients_[u].data() + begin, units_[u].flat_numel / kSegments, segments, next);
    next += segments;
  }
  return sums;
}

Result<StepStats> ScheduleExecutor::update(const StepInput& input) {
  totals_.squared_sums = local_squared_sums();
  TEPHRA_ASSIGN_OR_RETURN(GlobalTotals totals, exchange(totals_));
  StepStats stats{.loss_tokens = totals.loss_tokens, .tokens = totals.tokens};
  stats.micro_batch_losses = std::move(totals.losses);
  stats.skipped = true;
  if (totals.loss_tokens == 0) return stats;
  // Gradients are of the sum over tokens; the mean is taken here, once.
  const double tokens = static_cast<double>(totals.loss_tokens);
  stats.loss = totals.loss_sum / tokens;
  stats.gradient_norm = std::sqrt(totals.squared_sum) / tokens;
  // The same numbers on every rank, so the same decision.
  if (!std::isfinite(stats.loss) || !std::isfinite(stats.gradient_norm)) return stats;
  stats.skipped = false;
  flight_.begin({.op = FlightOp::kUpdate});
  const double clip =
      optimizer_.clip_norm > 0 ? std::min(1.0, optimizer_.clip_norm / (stats.gradient_norm + 1e-6)) : 1.0;
  try {
    const auto scale = static_cast<float>(clip / tokens);
    if (offloads(policy_)) {
      TEPHRA_RETURN_IF_ERROR(update_offloaded(input, scale));
    } else {
      store_.update(optimizer_, input, scale, gradients_);
    }
  } catch (const std::runtime_error& error) {
    return Status(Code::kUnavailable, RetryClass::kNeedsOperator, error.what());
  } catch (const std::bad_alloc&) {
    return Status(Code::kUnavailable, RetryClass::kNeedsOperator,
                  "no memory for the buffers that keep a snapshot apart from the next step; free memory or checkpoint "
                  "less often");
  }
  for (size_t u = 0; u < units_.size(); ++u) {
    if (units_[u].trainable) stale_[u] = true;
  }
  return stats;
}

Status ScheduleExecutor::update_offloaded(const StepInput& input, float scale) {
  std::vector<int> order;
  size_t position = schedule_.size();
  while (schedule_[position - 1].kind != OpKind::kStep) --position;
  for (size_t i = position; i < schedule_.size(); ++i) {
    if (schedule_[i].kind == OpKind::kFetch) order.push_back(schedule_[i].unit);
  }
  store_.begin_update();
  // None where the trainable units have no parameters.
  const auto buffer = [&](size_t index) {
    return working_.empty() ? nullptr : working_[index % working_.size()].data();
  };
  // Fetches and stores run in the order of submission. The fetch that is submitted while unit `index` is updated comes
  // after the store of the unit that had its buffer before, so none needs to be waited for but the one in use.
  std::deque<std::future<Status>> fetches;
  size_t fetched = 0, index = 0;
  const auto fetch_to = [&](size_t end) {
    for (; fetched < std::min(end, order.size()); ++fetched) {
      fetches.push_back(transfers_.submit([this, unit = order[fetched], to = buffer(fetched)] {
        store_.fetch(unit, to);
        return ok_status();
      }));
    }
  };
  for (; position < schedule_.size(); ++position) {
    const int unit = schedule_[position].unit;
    switch (schedule_[position].kind) {
      case OpKind::kFetch: {
        fetch_to(index + 2);  // this one and the next
        const Status status = fetches.front().get();
        fetches.pop_front();
        TEPHRA_RETURN_IF_ERROR(status);
        break;
      }
      case OpKind::kUpdate: store_.update_unit(unit, optimizer_, input, scale, gradients_[unit], buffer(index)); break;
      case OpKind::kStore:
        transfers_.submit([this, unit, from = buffer(index)] {
          store_.store(unit, from);
          return ok_status();
        });
        ++index;
        break;
      default: break;
    }
  }
  transfers_.drain();
  store_.end_update();
  return ok_status();
}

}  // namespace tephra::sharding
