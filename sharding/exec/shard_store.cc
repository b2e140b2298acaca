#include "sharding/exec/shard_store.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
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

ShardStore::ShardStore(const std::vector<UnitSpec>* units, const Holding& holding, int moments, Offload offload,
                       BlockPool* pool)
    : units_(*units),
      holding_(holding),
      kinds_(kept_kinds(moments)),
      offload_(offload),
      pool_(pool),
      computed_(units->size()),
      offloaded_computed_(units->size()) {
  for (size_t i = 0; i < units_.size(); ++i) {
    const int u = static_cast<int>(i);
    runs_.push_back(decay_runs(units_[u], holding_.shard, holding_.shards));
    if (units_[u].trainable && !rounds(u)) continue;
    const int64_t floats = computed_bytes(u) / static_cast<int64_t>(sizeof(float));
    if (offload_ == Offload::kParameters) {
      offloaded_computed_[u] = HostMemory(floats);
    } else {
      computed_[u] = pool_->acquire(floats);
      computed_[u].fill_zero();
    }
  }
  current_ = make_state();
  for (const UnitState& state : current_->units) {
    for (const Block& block : state.values) block.fill_zero();
  }
}

size_t ShardStore::first_offloaded() const {
  return offload_ == Offload::kParameters ? 0 : offload_ == Offload::kOptimizer ? 1 : kinds_.size();
}

std::shared_ptr<ShardStore::TrainedState> ShardStore::make_state() const {
  auto state = std::make_shared<TrainedState>();
  state->units.resize(units_.size());
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const int64_t count = held_count(static_cast<int>(u));
    const size_t first = first_offloaded();
    UnitState& unit = state->units[u];
    unit.offloaded = HostMemory(static_cast<int64_t>(kinds_.size() - first) * count);
    for (size_t k = 0; k < kinds_.size(); ++k) {
      if (k < first) unit.values[k] = pool_->acquire(count);
      unit.at[k] = k < first ? unit.values[k].data() : unit.offloaded.data() + static_cast<int64_t>(k - first) * count;
    }
  }
  return state;
}

std::shared_ptr<ShardStore::TrainedState> ShardStore::writable() const {
  return current_->holders.load(std::memory_order_acquire) == 0 ? current_ : make_state();
}

void* ShardStore::parameters(int unit) const {
  if (units_[unit].trainable && !rounds(unit)) return current_->units[unit].at[0];
  return offload_ == Offload::kParameters ? offloaded_computed_[unit].data() : computed_[unit].data();
}

void ShardStore::fetch_parameters(int unit, void* out) const {
  if (computed_bytes(unit) == 0) return;
  std::memcpy(out, parameters(unit), static_cast<size_t>(computed_bytes(unit)));
  const bool own = units_[unit].trainable && !rounds(unit);
  (own ? current_->units[unit].offloaded : offloaded_computed_[unit]).release_pages();
}

void ShardStore::round_parameters(int unit, float* from, void* to) const {
  const int64_t count = held_count(unit);
  at::from_blob(to, {count}, at::kBFloat16).copy_(at::from_blob(from, {count}, at::kFloat));
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
  const bool offloaded = offload_ == Offload::kParameters;
  void* const computed = offloaded ? offloaded_computed_[unit].data() : computed_[unit].data();
  if (!spec.trainable) {
    if (!rounds(unit)) {
      TEPHRA_RETURN_IF_ERROR(read(StateKind::kParameter, static_cast<float*>(computed)));
    } else {
      std::vector<float> wide(size);  // for the moment of loading only
      TEPHRA_RETURN_IF_ERROR(read(StateKind::kParameter, wide.data()));
      round_parameters(unit, wide.data(), computed);
    }
    offloaded_computed_[unit].release_pages();
    return ok_status();
  }
  for (const StateKind kind : kinds_) {
    float* values = into.units[unit].at[static_cast<size_t>(kind)];
    if (kind == StateKind::kParameter || with_moments) {
      TEPHRA_RETURN_IF_ERROR(read(kind, values));
    } else {
      std::fill_n(values, size, 0.0f);
    }
  }
  if (rounds(unit)) round_parameters(unit, into.units[unit].at[0], computed);
  into.units[unit].offloaded.release_pages();
  offloaded_computed_[unit].release_pages();
  return ok_status();
}

void ShardStore::update(const OptimizerOptions& options, const StepInput& input, float scale,
                        const std::vector<Block>& gradients) {
  begin_update();
  for (size_t u = 0; u < units_.size(); ++u) {
    if (!units_[u].trainable) continue;
    const int unit = static_cast<int>(u);
    const AdamWState to = next_->units[u].pointers();
    step(unit, options, input, scale, gradients[u], current_->units[u].pointers(), to);
    if (rounds(unit)) round_parameters(unit, to.parameters, computed_[u].data());
  }
  end_update();
}

// What is offloaded of the unit's state, and after it the parameters as they are gathered, where those are another copy.
int64_t ShardStore::working_count(int unit) const {
  const int64_t rounded = offload_ == Offload::kParameters && rounds(unit) ? computed_bytes(unit) : 0;
  return static_cast<int64_t>(kinds_.size() - first_offloaded()) * held_count(unit) +
         rounded / static_cast<int64_t>(sizeof(float));
}

void ShardStore::fetch(int unit, float* working) const {
  const HostMemory& from = current_->units[unit].offloaded;
  std::copy_n(from.data(), from.count(), working);
  from.release_pages();
}

void ShardStore::update_unit(int unit, const OptimizerOptions& options, const StepInput& input, float scale,
                             const Block& gradient, float* working) {
  const size_t first = first_offloaded();
  std::array<float*, 3> from = current_->units[unit].at, to = next_->units[unit].at;
  for (size_t k = first; k < kinds_.size(); ++k)
    from[k] = to[k] = working + static_cast<int64_t>(k - first) * held_count(unit);
  step(unit, options, input, scale, gradient, {from[0], from[1], from[2]}, {to[0], to[1], to[2]});
  if (!rounds(unit)) return;
  const bool offloaded = offload_ == Offload::kParameters;
  round_parameters(unit, to[0], offloaded ? working + next_->units[unit].offloaded.count() : computed_[unit].data());
}

void ShardStore::store(int unit, const float* working) {
  const HostMemory& to = next_->units[unit].offloaded;
  std::copy_n(working, to.count(), to.data());
  to.release_pages();
  const HostMemory& rounded = offloaded_computed_[unit];
  std::copy_n(working + to.count(), rounded.count(), rounded.data());
  rounded.release_pages();
}

void ShardStore::step(int unit, const OptimizerOptions& options, const StepInput& input, float scale,
                      const Block& gradient, const AdamWState& from, const AdamWState& to) {
  const double rate = input.learning_rate[unit];
  switch (options.kind) {
    case OptimizerKind::kAdamW:
      adamw_update(runs_[unit], adamw_constants(options, rate, input.optimizer_step, scale), gradient.data(), from, to);
      break;
    case OptimizerKind::kSgd:
      sgd_update(runs_[unit], sgd_constants(options, rate, scale), gradient.data(),
                 {from.parameters, from.first_moment}, {to.parameters, to.first_moment});
      break;
  }
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
        const float* values = unit.at[static_cast<size_t>(kind)] + (range.flat_offset - held_begin);
        result.pieces.push_back({range.tensor->name, kind, range.tensor->shape, range.begin,
                                 std::span<const float>(values, static_cast<size_t>(range.count))});
      }
    }
  }
  return result;
}

}  // namespace tephra::sharding
