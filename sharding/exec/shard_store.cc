#include "sharding/exec/shard_store.h"

#include <algorithm>
#include <cmath>

#include "sharding/exec/aten.h"

namespace tephra::sharding {
namespace {

AdamWConstants constants_for(const AdamWOptions& options, double learning_rate, int64_t step, float scale) {
  return {.gradient_scale = scale,
          .decay_factor = static_cast<float>(1.0 - learning_rate * options.weight_decay),
          .first_weight = static_cast<float>(1.0 - options.beta1),
          .second_beta = static_cast<float>(options.beta2),
          .second_weight = static_cast<float>(1.0 - options.beta2),
          .second_correction = static_cast<float>(std::sqrt(1.0 - std::pow(options.beta2, static_cast<double>(step)))),
          .epsilon = static_cast<float>(options.epsilon),
          .step_size = static_cast<float>(learning_rate / (1.0 - std::pow(options.beta1, static_cast<double>(step))))};
}

}  // namespace

ShardStore::ShardStore(const std::vector<UnitSpec>* units, int rank, int world_size, BlockPool* pool, bool replicated)
    : units_(*units),
      rank_(rank),
      world_size_(world_size),
      held_rank_(replicated ? 0 : rank),
      held_world_size_(replicated ? 1 : world_size),
      pool_(pool),
      computed_(units->size()) {
  for (size_t u = 0; u < units_.size(); ++u) {
    runs_.push_back(decay_runs(units_[u], held_rank_, held_world_size_));
    const bool wide = units_[u].compute_dtype == DType::kFloat32;
    if (units_[u].trainable && wide) continue;
    computed_[u] = pool_->acquire(shard_numel(units_[u], held_world_size_) / (wide ? 1 : 2));
    computed_[u].fill_zero();
  }
  current_ = make_state();
  for (const UnitState& state : current_->units) {
    for (const Block* block : {&state.parameters, &state.first_moment, &state.second_moment}) block->fill_zero();
  }
}

std::shared_ptr<ShardStore::TrainedState> ShardStore::make_state() const {
  auto state = std::make_shared<TrainedState>();
  state->units.resize(units_.size());
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const int64_t count = shard_numel(units_[u], held_world_size_);
    state->units[u] = {pool_->acquire(count), pool_->acquire(count), pool_->acquire(count)};
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
  const int64_t count = shard_numel(units_[unit], held_world_size_);
  at::from_blob(computed_[unit].data(), {count}, at::kBFloat16).copy_(at::from_blob(from, {count}, at::kFloat));
}

Status ShardStore::load(const Executor::Reader& reader, bool with_moments) {
  std::shared_ptr<TrainedState> state = writable();
  for (size_t u = 0; u < units_.size(); ++u) {
    TEPHRA_RETURN_IF_ERROR(load_unit(reader, static_cast<int>(u), with_moments, *state));
  }
  current_ = std::move(state);
  return ok_status();
}

Status ShardStore::load_unit(const Executor::Reader& reader, int unit, bool with_moments, TrainedState& into) {
  const UnitSpec& spec = units_[unit];
  const int64_t size = shard_numel(spec, held_world_size_);
  const auto read = [&](StateKind kind, float* values) {
    std::fill_n(values, size, 0.0f);
    for (const TensorRange& range : tensor_ranges(spec, held_rank_ * size, (held_rank_ + 1) * size)) {
      float* out = values + (range.flat_offset - held_rank_ * size);
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
  const UnitState& state = into.units[unit];
  TEPHRA_RETURN_IF_ERROR(read(StateKind::kParameter, state.parameters.data()));
  if (rounds) round_parameters(unit, state.parameters.data());
  if (with_moments) {
    TEPHRA_RETURN_IF_ERROR(read(StateKind::kFirstMoment, state.first_moment.data()));
    return read(StateKind::kSecondMoment, state.second_moment.data());
  }
  state.first_moment.fill_zero();
  state.second_moment.fill_zero();
  return ok_status();
}

void ShardStore::update(const AdamWOptions& options, const StepInput& input, float scale,
                        const std::vector<Block>& gradients) {
  std::shared_ptr<TrainedState> next = writable();
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const AdamWConstants constants = constants_for(options, input.learning_rate[u], input.optimizer_step, scale);
    adamw_update(runs_[u], constants, gradients[u].data(), current_->units[u].pointers(), next->units[u].pointers());
    if (units_[u].compute_dtype != DType::kFloat32)
      round_parameters(static_cast<int>(u), next->units[u].parameters.data());
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
    const int64_t size = shard_numel(units_[u], world_size_);
    const int64_t held_begin = held_rank_ * shard_numel(units_[u], held_world_size_);
    const std::vector<TensorRange> ranges = tensor_ranges(units_[u], rank_ * size, (rank_ + 1) * size);
    for (const auto& [kind, block] :
         {std::pair{StateKind::kParameter, &unit.parameters}, std::pair{StateKind::kFirstMoment, &unit.first_moment},
          std::pair{StateKind::kSecondMoment, &unit.second_moment}}) {
      for (const TensorRange& range : ranges) {
        const float* values = block->data() + (range.flat_offset - held_begin);
        result.pieces.push_back({range.tensor->name, kind, range.tensor->shape, range.begin,
                                 std::span<const float>(values, static_cast<size_t>(range.count))});
      }
    }
  }
  return result;
}

}  // namespace tephra::sharding
