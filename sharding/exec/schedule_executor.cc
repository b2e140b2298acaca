#include "sharding/exec/schedule_executor.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>

namespace tephra::sharding {
namespace {

using cluster::Buffer;
using cluster::ConstBuffer;

constexpr auto kNoOp = static_cast<OpKind>(-1);  // between steps

std::vector<UnitSpec> without_training(std::vector<UnitSpec> units) {
  for (UnitSpec& unit : units) unit.trainable = unit.needs_backward = false;
  return units;
}

FlightOp flight_op(OpKind kind) {
  switch (kind) {
    case OpKind::kFetch:  // before a gather: those of the update are not noted one by one
    case OpKind::kGather: return FlightOp::kGather;
    case OpKind::kForward: return FlightOp::kForward;
    case OpKind::kFree: return FlightOp::kFree;
    case OpKind::kRecompute: return FlightOp::kRecompute;
    case OpKind::kBackward: return FlightOp::kBackward;
    case OpKind::kReduceScatter: return FlightOp::kReduceScatter;
    case OpKind::kAllReduce: return FlightOp::kAllReduce;
    case OpKind::kUpdate:
    case OpKind::kStore: return FlightOp::kUpdate;
    case OpKind::kStep: return FlightOp::kTotals;  // the last reduction, and then the totals, are waited for
  }
  return FlightOp::kTotals;
}

FlightRecorder::Start comm_start(FlightOp op, int unit, const Buffer& whole) {
  return {.track = FlightTrack::kComm, .op = op, .unit = unit, .bytes = whole.size_bytes()};
}

double read_loss(const Activations& outputs, const UnitSpec& unit) {
  TEPHRA_CHECK(
      !outputs.empty() && outputs[0].defined() && outputs[0].numel() == 1 && outputs[0].scalar_type() == at::kFloat,
      "the last unit, " + unit.name + ", must return the loss, one float32, first");
  return outputs[0].item<float>();
}

}  // namespace

ScheduleExecutor::ScheduleExecutor(std::vector<UnitSpec> units, std::vector<std::unique_ptr<UnitModule>> modules,
                                   RankGroups groups, const Policy& policy, const OptimizerOptions& optimizer,
                                   std::chrono::nanoseconds collective_timeout, FlightRecorder* flight)
    : units_(std::move(units)),
      modules_(std::move(modules)),
      groups_(std::move(groups)),
      policy_(policy),
      optimizer_(optimizer),
      collective_timeout_(collective_timeout),
      flight_(flight != nullptr ? *flight : own_flight_),
      schedule_(make_schedule(units_, policy)),
      holding_(holding(policy, groups_.all().rank())),
      store_(&units_, holding_, policy.moments, policy.offload, &pool_),
      gradients_(units_.size()),
      stale_(units_.size(), true) {
  // LibTorch and MKL keep the thread count per thread, and take it over on a new thread only at the first
  // at::parallel_for: a matrix product before that would use another count, and round otherwise, than the same one
  // after it (measured).
  at::set_num_threads(at::get_num_threads());
  for (const UnitSpec& unit : units_) {
    buffers_.emplace_back(unit);
    trees_.emplace_back(&unit, &pool_, policy.micro_batches);
    trainable_units_ += unit.trainable ? 1 : 0;
  }
  int64_t most = 0;
  for (size_t u = 0; u < units_.size() && offloads(policy_); ++u) {
    if (units_[u].trainable) most = std::max(most, store_.working_count(static_cast<int>(u)));
  }
  while (most > 0 && std::ssize(working_) < std::min(kOffloadBuffers, trainable_units_)) {
    working_.push_back(pool_.acquire(most));
  }
  std::vector<std::string> names;
  for (const UnitSpec& unit : units_) names.push_back(unit.name);
  flight_.begin_task(std::move(names));
}

Status ScheduleExecutor::load(const Reader& reader, bool with_moments) {
  drop_gathered();
  return store_.load(reader, with_moments);
}

Result<StepStats> ScheduleExecutor::train_step(const std::vector<const MicroBatch*>& local, const StepInput& input) {
  if (!failure_.ok()) return failure_;
  TEPHRA_RETURN_IF_ERROR(check_local(local));
  if (local.size() != static_cast<size_t>(policy_.micro_batches) || input.learning_rate.size() != units_.size() ||
      input.optimizer_step < 1) {
    return Status(Code::kInvalidArgument, "a training step takes " + std::to_string(policy_.micro_batches) +
                                              " micro-batches, " + std::to_string(units_.size()) +
                                              " learning rates and a step count from 1");
  }
  if (const Status status = run(schedule_, local, /*training=*/true); !status.ok()) return fail(status);
  Result<StepStats> stats = update(input);
  if (!stats.ok()) return fail(stats.status());
  clear_step();
  return stats;
}

Result<StepStats> ScheduleExecutor::evaluate(const std::vector<const MicroBatch*>& local) {
  if (!failure_.ok()) return failure_;
  TEPHRA_RETURN_IF_ERROR(check_local(local));
  Policy policy = policy_;
  policy.micro_batches = static_cast<int>(local.size());
  const Schedule schedule = make_schedule(without_training(units_), policy);
  if (const Status status = run(schedule, local, /*training=*/false); !status.ok()) return fail(status);
  const Result<GlobalTotals> totals = exchange(totals_);
  if (!totals.ok()) return fail(totals.status());
  clear_step();
  const double tokens = static_cast<double>(totals->loss_tokens);
  return StepStats{.loss = totals->loss_tokens > 0 ? totals->loss_sum / tokens : 0,
                   .loss_tokens = totals->loss_tokens,
                   .tokens = totals->tokens};
}

Status ScheduleExecutor::check_local(const std::vector<const MicroBatch*>& local) const {
  if (local.empty() || std::find(local.begin(), local.end(), nullptr) != local.end()) {
    return Status(Code::kInvalidArgument, "a step takes at least one micro-batch, and none may be null");
  }
  return ok_status();
}

Status ScheduleExecutor::run(const Schedule& schedule, const std::vector<const MicroBatch*>& local, bool training) {
  chain_.tapes.assign(units_.size(), {});
  totals_ = {};
  for (const MicroBatch* batch : local) {
    totals_.loss_tokens += batch->loss_tokens;
    totals_.tokens += batch->tokens;
  }
  if (used_in_place(policy_)) {
    for (size_t u = 0; u < units_.size(); ++u) buffers_[u].attach(store_.parameters(static_cast<int>(u)));
  }
  size_t issued = 0;  // the gathers before it are
  for (size_t position = 0; position < schedule.size(); ++position) {
    const Op& op = schedule[position];
    note(op);
    try {
      for (const size_t end = prefetch_end(schedule, position, policy_.prefetch); issued < end; ++issued) {
        if (schedule[issued].kind == OpKind::kFetch) issue_fetch(schedule[issued].unit);
        if (schedule[issued].kind == OpKind::kGather) issue_gather(schedule[issued].unit);
      }
      if (training) note_held(0);
      TEPHRA_RETURN_IF_ERROR(run_op(op, local, training));
      if (op.kind == OpKind::kStep) break;  // what follows is for update_offloaded(), once the norm is known
    } catch (const std::exception& error) {
      const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
      const std::string where = op.unit >= 0 ? "unit " + units_[op.unit].name : "step";
      return Status(Code::kInternal, where + ", micro-batch " + std::to_string(op.micro_batch) + ": " +
                                         (torch_error ? torch_error->what_without_backtrace() : error.what()));
    }
  }
  return finish_reduction();
}

Status ScheduleExecutor::run_op(const Op& op, const std::vector<const MicroBatch*>& local, bool training) {
  switch (op.kind) {
    case OpKind::kGather: return finish_gather(op.unit);
    case OpKind::kForward: forward(op, *local[op.micro_batch], training); return ok_status();
    case OpKind::kFree:
      if (!used_in_place(policy_)) buffers_[op.unit].detach();
      return ok_status();
    case OpKind::kRecompute: recompute(op, *local[op.micro_batch]); return ok_status();
    case OpKind::kBackward: backward(op); return ok_status();
    case OpKind::kReduceScatter:
    case OpKind::kAllReduce: return reduce(op);
    case OpKind::kStep:
    case OpKind::kFetch:
    case OpKind::kUpdate:
    case OpKind::kStore: return ok_status();
  }
  return ok_status();
}

// With recomputation the tape is built in forward too, and dropped at the unit's end: only then is it known which
// outputs can carry a gradient, and kernels that choose by that make the same choice both times. Memory peaks at one
// unit's tape, as it does again in backward.
void ScheduleExecutor::forward(const Op& op, const MicroBatch& batch, bool training) {
  const UnitSpec& unit = units_[op.unit];
  const bool last = op.unit + 1 == static_cast<int>(units_.size());
  const bool with_tape = training && unit.needs_backward;
  if (op.unit == 0) chain_.activations.clear();
  UnitTape tape{std::move(chain_.activations), {}};
  Activations outputs = run_forward(*modules_[op.unit], unit, buffers_[op.unit], tape.inputs, batch, with_tape);
  if (last) {
    totals_.losses.push_back(read_loss(outputs, unit));
    chain_.activations.clear();
    chain_.output_gradients = loss_gradients(outputs);
  } else {
    chain_.activations = detached(outputs);
  }
  if (!with_tape) return;
  if (!recomputes(units_, policy_, op.unit)) tape.outputs = std::move(outputs);
  chain_.tapes[op.unit] = std::move(tape);
}

void ScheduleExecutor::recompute(const Op& op, const MicroBatch& batch) {
  UnitTape& tape = chain_.tapes[op.unit];
  tape.outputs =
      run_forward(*modules_[op.unit], units_[op.unit], buffers_[op.unit], tape.inputs, batch, /*with_tape=*/true);
}

void ScheduleExecutor::backward(const Op& op) {
  UnitTape tape = std::move(chain_.tapes[op.unit]);
  chain_.tapes[op.unit] = {};
  const UnitSpec& unit = units_[op.unit];
  UnitBuffer& buffer = buffers_[op.unit];
  // Modules that can write their gradients straight into the leaf; what others return is copied there.
  Block leaf;
  if (unit.trainable) {
    leaf = trees_[op.unit].make_leaf();
    buffer.place_gradients(leaf.data());
  }
  UnitGradients gradients = run_backward(unit, buffer, std::move(tape), chain_.output_gradients);
  chain_.output_gradients = std::move(gradients.inputs);
  if (!unit.trainable) return;
  buffer.place_gradients(nullptr);
  note_held(leaf.count());
  trees_[op.unit].add(std::move(leaf), gradients.parameters);
}

// The unit's shard; where that is the unit, the fetch is its gather.
void ScheduleExecutor::issue_fetch(int unit) {
  if (units_[unit].flat_numel == 0) return;
  InFlight& gather = gathers_.emplace_back();
  gather.unit = unit;
  Block& fetched = whole() ? gather.buffer : gather.part;
  fetched = pool_.acquire(gathered_bytes(units_[unit]) / holding_.shards / static_cast<int64_t>(sizeof(float)));
  gather.done = transfers_.submit([this, unit, to = fetched.data()] {
    store_.fetch_parameters(unit, to);
    return ok_status();
  });
}

void ScheduleExecutor::issue_gather(int unit) {
  UnitBuffer& buffer = buffers_[unit];
  if (whole() || (buffer.attached() && !stale_[unit])) return;
  buffer.detach();
  const int64_t flat = units_[unit].flat_numel;
  if (flat == 0) return buffer.attach(store_.parameters(unit));
  const bool fetches = offloads_parameters(policy_);
  InFlight& gather = fetches ? gathers_.back() : gathers_.emplace_back();
  gather.unit = unit;
  // Empty where nothing is fetched. Shared, since the closure has to be copyable.
  const auto fetched = std::make_shared<std::future<Status>>(std::move(gather.done));
  const DType dtype = units_[unit].compute_dtype;
  gather.buffer = pool_.acquire(gathered_bytes(units_[unit]) / static_cast<int64_t>(sizeof(float)));
  const ConstBuffer shard{fetches ? gather.part.data() : store_.parameters(unit),
                          shard_numel(units_[unit], holding_.shards), dtype};
  const Buffer full{gather.buffer.data(), flat, dtype};
  gather.done = submit("gather " + units_[unit].name, comm_start(FlightOp::kCommAllGather, unit, full),
                       [=, this](Deadline deadline) {
                         if (fetched->valid()) TEPHRA_RETURN_IF_ERROR(fetched->get());
                         return groups_.shards().all_gather(shard, full, deadline);
                       });
}

Status ScheduleExecutor::finish_gather(int unit) {
  if (gathers_.empty() || gathers_.front().unit != unit) return ok_status();  // kept from an earlier step, or in place
  InFlight gather = std::move(gathers_.front());
  gathers_.pop_front();
  TEPHRA_RETURN_IF_ERROR(gather.done.get());
  buffers_[unit].attach(std::move(gather.buffer));
  stale_[unit] = false;
  return ok_status();
}

Status ScheduleExecutor::reduce(const Op& op) {
  TEPHRA_RETURN_IF_ERROR(finish_reduction());
  const UnitSpec& unit = units_[op.unit];
  Block sum = trees_[op.unit].take();
  if (policy_.world_size == 1 || unit.flat_numel == 0) {
    gradients_[op.unit] = std::move(sum);
    return ok_status();
  }
  reduction_.unit = op.unit;
  if (groups_.copies() > 1) reduction_.part = pool_.acquire(shard_numel(unit, holding_.parts));
  Block shard;
  if (!whole()) shard = pool_.acquire(shard_numel(unit, holding_.shards));
  const auto buffer = [](const Block& block) { return Buffer{block.data(), block.count(), DType::kFloat32}; };
  const Buffer full = buffer(sum), held = buffer(whole() ? sum : shard), part = buffer(reduction_.part);
  if (whole()) {
    gradients_[op.unit] = std::move(sum);
  } else {
    reduction_.buffer = std::move(sum);
    gradients_[op.unit] = std::move(shard);
  }
  note_held(0);
  const std::string what = op.kind == OpKind::kAllReduce ? "all-reduce " : "reduce-scatter ";
  reduction_.done =
      submit(what + unit.name, comm_start(FlightOp::kCommReduceScatter, op.unit, full), [=, this](Deadline deadline) {
        const auto next = [&](FlightOp begun, const Buffer& whole) {
          record_collective(comm_start(begun, op.unit, whole));
        };
        return groups_.sum(full, held, part, deadline, next);
      });
  return ok_status();
}

Status ScheduleExecutor::finish_reduction() {
  if (reduction_.unit < 0) return ok_status();
  Status status = reduction_.done.get();
  reduction_.unit = -1;
  reduction_.buffer = Block();
  reduction_.part = Block();
  return status;
}

Result<GlobalTotals> ScheduleExecutor::exchange(const LocalTotals& local) {
  const int world = policy_.world_size;
  std::vector<double> values = pack_values(local);
  std::vector<int64_t> counts = pack_counts(local);
  std::vector<double> all_values(values.size() * world);
  std::vector<int64_t> all_counts(counts.size() * world);
  const auto gather_all = [&](ConstBuffer mine, Buffer all) {
    return submit("exchange of losses and norms", comm_start(FlightOp::kCommAllGather, -1, all),
                  [=, this](Deadline deadline) { return groups_.all().all_gather(mine, all, deadline); });
  };
  std::future<Status> values_done = gather_all({values.data(), std::ssize(values), DType::kFloat64},
                                               {all_values.data(), std::ssize(all_values), DType::kFloat64});
  std::future<Status> counts_done = gather_all({counts.data(), std::ssize(counts), DType::kInt64},
                                               {all_counts.data(), std::ssize(all_counts), DType::kInt64});
  // Both before returning: they write into this frame.
  const Status values_status = values_done.get();
  const Status counts_status = counts_done.get();
  TEPHRA_RETURN_IF_ERROR(values_status);
  TEPHRA_RETURN_IF_ERROR(counts_status);
  const int units = local.squared_sums.empty() ? 0 : trainable_units_;
  std::vector<int> ranks;
  for (int part = 0; part < world; ++part) ranks.push_back(rank_of_part(policy_, part));
  return combine(all_values, all_counts, world, static_cast<int>(local.losses.size()), units, ranks);
}

std::future<Status> ScheduleExecutor::submit(std::string what, FlightRecorder::Start start,
                                             std::function<Status(Deadline)> collective) {
  start.submitted = std::chrono::steady_clock::now();
  return comm_.submit([this, what = std::move(what), start, collective = std::move(collective)] {
    record_collective(start);
    Status status = collective(Deadline::after(collective_timeout_));
    if (!status.ok()) return status.with_context(what);
    flight_.end(FlightTrack::kComm);
    return status;
  });
}

void ScheduleExecutor::record_collective(FlightRecorder::Start start) {
  start.sequence = groups_.sequence() + 1;
  progress_.collective_sequence.store(start.sequence, std::memory_order_relaxed);
  flight_.begin(start);
}

Status ScheduleExecutor::fail(const Status& status) {
  failure_ = status;
  groups_.abort(status);
  comm_.drain();
  transfers_.drain();
  gathers_.clear();
  reduction_ = {};
  clear_step();
  drop_gathered();
  return status;
}

// Progress stays where it was when the step failed: it is the flight record.
void ScheduleExecutor::clear_step() {
  chain_ = {};
  totals_ = {};
  for (GradientTree& tree : trees_) tree.reset();
  for (Block& gradient : gradients_) gradient = Block();
  if (!failure_.ok()) return;
  flight_.end(FlightTrack::kCompute);
  note({kNoOp, -1, -1});
}

void ScheduleExecutor::drop_gathered() {
  for (UnitBuffer& buffer : buffers_) {
    buffer.place_gradients(nullptr);
    buffer.detach();
  }
  stale_.assign(units_.size(), true);
}

HeldPeaks ScheduleExecutor::held_peaks() const {
  HeldPeaks peaks = peaks_;
  peaks.total = pool_.peak_bytes();
  return peaks;
}

void ScheduleExecutor::note_held(int64_t leaf_count) {
  int64_t gathered = 0, gradients = reduction_.buffer.count() + reduction_.part.count() + leaf_count;
  for (const InFlight& gather : gathers_) gathered += gather.buffer.count() + gather.part.count();
  for (size_t u = 0; u < units_.size(); ++u) {
    gathered += buffers_[u].owned_count();
    gradients += trees_[u].held_count() + (whole() ? gradients_[u].count() : 0);
  }
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  peaks_.gathered = std::max(peaks_.gathered, gathered * kFloat);
  peaks_.gradients = std::max(peaks_.gradients, gradients * kFloat);
}

void ScheduleExecutor::note(const Op& op) {
  if (op.kind != kNoOp) flight_.begin({.op = flight_op(op.kind), .unit = op.unit, .micro_batch = op.micro_batch});
  progress_.phase.store(static_cast<int>(op.kind) + 1, std::memory_order_relaxed);
  progress_.unit.store(op.unit, std::memory_order_relaxed);
  progress_.micro_batch.store(op.micro_batch, std::memory_order_relaxed);
}

}  // namespace tephra::sharding
