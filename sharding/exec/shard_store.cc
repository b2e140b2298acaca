#include "sharding/exec/shard_store.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "sharding/exec/aten.h"

namespace tephra::sharding {
namespace {

AdamWConstants adamw_constants(const OptimizerOptions& options, double learning_rate, int64_t step, float scale) {
  return {.gradient_scale = scale,
          .decay_factor = static_cast<float>(1.0 - learning_rate * options.weight_decay),
          .first_weight = static_cast<float>(1.0 - options.beta1),
          .second_beta = static_cast<float>(options.beta2),
          .second_weight = static_cast<float>(1.0 - options.beta2),
          .second_correction = static_cast<float>(std::sqrt(1.0 - std::pow(options.beta2, static_cast<double>(step)))),
          .epsilon = static_cast<float>(options.epsilon),
          .step_size = static_cast<float>(learning_rate / (1.0 - std::pow(options.beta1, static_cast<double>(step))))};
}

SgdConstants sgd_constants(const OptimizerOptions& options, double learning_rate, float scale) {
  return {.gradient_scale = scale,
          .weight_decay = static_cast<float>(options.weight_decay),
          .momentum = static_cast<float>(options.momentum),
          .nesterov = options.nesterov,
          .step_size = static_cast<float>(learning_rate)};
}

std::vector<StateKind> kept_kinds(int moments) {
  std::vector<StateKind> kinds{StateKind::kParameter, StateKind::kFirstMoment, StateKind::kSecondMoment};
  kinds.resize(1 + moments);
  return kinds;
}

}  // namespace

const Block& ShardStore::UnitState::of(StateKind kind) const {
  if (kind == StateKind::kParameter) return parameters;
  return kind == StateKind::kFirstMoment ? first_moment : second_moment;
}

ShardStore::ShardStore(const std::vector<UnitSpec>* units, const Holding& holding, int moments, BlockPool* pool)
    : units_(*units), holding_(holding), kinds_(kept_kinds(moments)), pool_(pool), computed_(units->size()) {
  for (size_t u = 0; u < units_.size(); ++u) {
    runs_.push_back(decay_runs(units_[u], holding_.shard, holding_.shards));
    const bool wide = units_[u].compute_dtype == DType::kFloat32;
    if (units_[u].trainable && wide) continue;
    computed_[u] = pool_->acquire(shard_numel(units_[u], holding_.shards) / (wide ? 1 : 2));
    computed_[u].fill_zero();
  }
  current_ = make_state();
  for (const UnitState& state : current_->units) {
    for (const StateKind kind : kinds_) state.of(kind).fill_zero();
  }
}

std::shared_ptr<ShardStore::TrainedState> ShardStore::make_state() const {
  auto state = std::make_shared<TrainedState>();
  state->units.resize(units_.size());
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const int64_t count = shard_numel(units_[u], holding_.shards);
    UnitState& unit = state->units[u];
    unit.parameters = pool_->acquire(count);
    if (kinds_.size() > 1) unit.first_moment = pool_->acquire(count);
    if (kinds_.size() > 2) unit.second_moment = pool_->acquire(count);
  }
  return state;
}

std::shared_ptr<ShardStore::TrainedState> ShardStore::writable() const {
  return current_->holders.load(std::memory_order_acquire) == 0 ? current_ : make_state();
}

void* ShardStore::parameters(int unit) const {
  return computed_[unit] ? computed_[unit].data() : current_->units[unit].parameters.data();
}

void ShardStore::round_parameters(int unit, float* from) {
  const int64_t count = shard_numel(units_[unit], holding_.shards);
  at::from_blob(computed_[unit].data(), {count}, at::kBFloat16).copy_(at::from_blob(from, {count}, at::kFloat));
}

Status ShardStore::load(const Executor::Reader& reader, bool with_moments) {
  std::shared_ptr<TrainedState> state = writable();
  // Each thread takes the next unit, as many threads as the rank computes with.
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Status failure;
  const auto work = [&] {
    for (size_t u; (u = next++) < units_.size();) {
      Status status = load_unit(reader, static_cast<int>(u), with_moments, *state);
      if (status.ok()) continue;
      std::lock_guard lock(mutex);
      if (failure.ok()) failure = std::move(status);
      next = units_.size();
    }
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < at::get_num_threads(); ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  TEPHRA_RETURN_IF_ERROR(failure);
  current_ = std::move(state);
  return ok_status();
}

Status ShardStore::load_unit(const Executor::Reader& reader, int unit, bool with_moments, TrainedState& into) {
  const UnitSpec& spec = units_[unit];
  const int64_t size = shard_numel(spec, holding_.shards), begin = holding_.shard * size;
  const auto read = [&](StateKind kind, float* values) {
    std::fill_n(values, size, 0.0f);
    for (const TensorRange& range : tensor_ranges(spec, begin, begin + size)) {
      float* out = values + (range.flat_offset - begin);
      TEPHRA_RETURN_IF_ERROR(reader(range.tensor->name, kind, range.begin, range.count, out));
    }
    return ok_status();
  };
  const bool rounds = spec.compute_dtype != DType::kFloat32;
  if (!spec.trainable) {
    if (!rounds) return read(StateKind::kParameter, computed_[unit].data());
    std::vector<float> wide(size);  // for the moment of loading only
    TEPHRA_RETURN_IF_ERROR(read(StateKind::kParameter, wide.data()));
    round_parameters(unit, wide.data());
    return ok_status();
  }
  for (const StateKind kind : kinds_) {
    const Block& block = into.units[unit].of(kind);
    if (kind == StateKind::kParameter || with_moments) {
      TEPHRA_RETURN_IF_ERROR(read(kind, block.data()));
    } else {
      block.fill_zero();
    }
  }
  if (rounds) round_parameters(unit, into.units[unit].parameters.data());
  return ok_status();
}

void ShardStore::update(const OptimizerOptions& options, const StepInput& input, float scale,
                        const std::vector<Block>& gradients) {
  std::shared_ptr<TrainedState> next = writable();
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const UnitState &from = current_->units[u], &to = next->units[u];
    const float* gradient = gradients[u].data();
    const double rate = input.learning_rate[u];
    switch (options.kind) {
      case OptimizerKind::kAdamW:
        adamw_update(runs_[u], adamw_constants(options, rate, input.optimizer_step, scale), gradient, from.adamw(),
                     to.adamw());
        break;
      case OptimizerKind::kSgd:
        sgd_update(runs_[u], sgd_constants(options, rate, scale), gradient, from.sgd(), to.sgd());
        break;
    }
    if (units_[u].compute_dtype != DType::kFloat32) round_parameters(static_cast<int>(u), to.parameters.data());
  }
  current_ = std::move(next);
}

Snapshot ShardStore::snapshot() const {
  Snapshot result;
  std::shared_ptr<TrainedState> state = current_;
  state->holders.fetch_add(1, std::memory_order_relaxed);
  result.owner = std::shared_ptr<const void>(state.get(), [state](const void*) mutable {
    state->holders.fetch_sub(1, std::memory_order_release);
    state.reset();
  });
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const UnitState& unit = state->units[u];
    const int64_t size = shard_numel(units_[u], holding_.parts);
    const int64_t held_begin = holding_.shard * shard_numel(units_[u], holding_.shards);
    const std::vector<TensorRange> ranges = tensor_ranges(units_[u], holding_.part * size, (holding_.part + 1) * size);
    for (const StateKind kind : kinds_) {
      for (const TensorRange& range : ranges) {
        const float* values = unit.of(kind).data() + (range.flat_offset - held_begin);
        result.pieces.push_back({range.tensor->name, kind, range.tensor->shape, range.begin,
                                 std::span<const float>(values, static_cast<size_t>(range.count))});
      }
    }
  }
  return result;
}

}  // namespace tephra::sharding
