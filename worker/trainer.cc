#include "worker/trainer.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/diagnostic.h"
#include "base/log.h"
#include "model/spec/model_folder.h"
#include "recipes/lr_schedule.h"
#include "sharding/exec/executor.h"
#include "storage/pack.h"
#include "worker/checkpoint_writer.h"
#include "worker/stage_model.h"
#include "worker/step_loader.h"

namespace tephra::worker {
namespace {

using Seconds = std::chrono::duration<double>;

sharding::Policy policy_of(const TaskContext& context) {
  const recipes::StageRecipe& stage = context.stage();
  const int ranks = context.communicator->world_size();
  // As coordinator/planner.cc does.
  return {.world_size = ranks,
          .micro_batches = static_cast<int>(stage.micro_batches_per_step() / ranks),
          .shard = sharding::shard_level(stage.sharding.shard),
          .reshard_after_forward = stage.sharding.reshard_after_forward,
          .recompute_every = *stage.sharding.recompute_every(),
          .prefetch = static_cast<int>(stage.sharding.prefetch)};
}

// One stage in progress. The steps are straight-line; what a step needs is made once in prepare().
class StageTrainer {
 public:
  explicit StageTrainer(const TaskContext& context)
      : context_(context), stage_(context.stage()), rank_(context.communicator->rank()) {}

  Status run() {
    TEPHRA_RETURN_IF_ERROR(prepare());
    for (step_ = first_step(); step_ < total_steps_;) {
      TEPHRA_RETURN_IF_ERROR(train_one_step());
      bool stop = context_.link->stop_requested();
      // All ranks must agree on stopping, or one would leave the others in a collective.
      TEPHRA_ASSIGN_OR_RETURN(stop, any_rank(stop));
      bool last = step_ == total_steps_;
      int64_t every = stage_.checkpoint.every_steps;
      if (last || stop || (every > 0 && step_ % every == 0)) TEPHRA_RETURN_IF_ERROR(checkpoint(last));
      TEPHRA_RETURN_IF_ERROR(context_.link->commit_failure());
      if (stop && !last) {
        TEPHRA_RETURN_IF_ERROR(wait_durable());
        return {Code::kCancelled, "stopped at step " + std::to_string(step_) + " of stage " + stage_.name};
      }
    }
    return wait_durable();
  }

 private:
  int64_t first_step() const { return context_.options.resume ? static_cast<int64_t>(context_.task.start_step) : 0; }

  Status prepare() {
    context_.vitals->phase = "load";
    TEPHRA_ASSIGN_OR_RETURN(model_, build_stage_model(context_));
    TEPHRA_ASSIGN_OR_RETURN(source_, open_samples(context_, model_.tokenizer, model_.preprocess));
    total_steps_ = worker::total_steps(stage_, source_->size());
    TEPHRA_RETURN_IF_ERROR(load_executor());

    data::SampleOrder order;
    order.seed =
        static_cast<uint64_t>(context_.recipe.seed) * 1000003u + static_cast<uint64_t>(context_.options.stage_index);
    order.dataset_size = static_cast<uint64_t>(source_->size());
    StepShare share;
    share.micro_batch = stage_.micro_batch;
    share.per_step = stage_.micro_batches_per_step();
    share.count = share.per_step / context_.communicator->world_size();
    share.first = share.count * rank_;
    loader_ = std::make_unique<StepLoader>(source_.get(), order, share, first_step(), total_steps_);
    writer_ = std::make_unique<CheckpointWriter>(context_.env, context_.options.packs_dir, context_.link);
    return ok_status();
  }

  Status load_executor() {
    sharding::AdamWOptions adam;
    adam.beta1 = stage_.optimizer.betas[0];
    adam.beta2 = stage_.optimizer.betas[1];
    adam.epsilon = stage_.optimizer.eps;
    adam.weight_decay = stage_.optimizer.weight_decay;
    adam.clip_norm = stage_.optimizer.clip_norm;
    if (context_.checkpoint) {
      auto problems = model::check_against_units(*context_.checkpoint, model_.units,
                                                 context_.checkpoint->manifest().name(), {"connector", "lora"});
      if (!problems.empty()) return {Code::kMismatch, RetryClass::kPermanent, to_string(problems)};
    }
    std::vector<Shape> shapes;
    auto timeout =
        std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds(context_.recipe.gang.collective_timeout_s));
    TEPHRA_ASSIGN_OR_RETURN(executor_,
                            sharding::Executor::create(model_.units, std::move(model_.modules), context_.communicator,
                                                       policy_of(context_), adam, timeout));
    for (const sharding::UnitSpec& unit : model_.units)
      for (const sharding::TensorSpec& tensor : unit.tensors) shapes_[tensor.name] = tensor.shape;
    return executor_->load([this](const std::string& tensor, sharding::StateKind kind, int64_t begin, int64_t count,
                                  float* out) { return read_state(tensor, kind, begin, count, out); },
                           context_.options.resume);
  }

  Status read_state(const std::string& tensor, sharding::StateKind kind, int64_t begin, int64_t count,
                    float* out) const {
    storage::StateKind stored = stored_kind(kind);
    if (context_.checkpoint && context_.checkpoint->has_state(tensor, stored))
      return context_.checkpoint->read_state_float32(tensor, stored, begin, count, out);
    if (kind == sharding::StateKind::kParameter) {
      model::init_tensor(tensor, shapes_.at(tensor), static_cast<uint64_t>(context_.recipe.seed), begin, count, out);
    } else {
      std::fill(out, out + count, 0.0f);
    }
    return ok_status();
  }

  Status train_one_step() {
    auto started = std::chrono::steady_clock::now();
    context_.vitals->phase = "data";
    TEPHRA_ASSIGN_OR_RETURN(auto samples, loader_->next());
    std::vector<std::unique_ptr<sharding::MicroBatch>> batches;
    std::vector<const sharding::MicroBatch*> views;
    for (const auto& micro : samples) {
      TEPHRA_ASSIGN_OR_RETURN(auto batch, model_.make_batch(micro));
      views.push_back(batch.get());
      batches.push_back(std::move(batch));
    }
    context_.vitals->phase = "step";
    sharding::StepInput input = step_input();
    TEPHRA_ASSIGN_OR_RETURN(auto stats, executor_->train_step(views, input));
    ++step_;
    context_.vitals->step = step_;
    context_.vitals->collective_sequence = context_.communicator->sequence();
    if (stats.skipped) report_skipped(samples);
    last_loss_ = stats.loss;
    if (rank_ != 0) return ok_status();
    return report(stats, Seconds(std::chrono::steady_clock::now() - started).count());
  }

  sharding::StepInput step_input() const {
    sharding::StepInput input;
    input.optimizer_step = step_ + 1;
    for (const sharding::UnitSpec& unit : model_.units)
      input.learning_rate.push_back(rate(unit.group == "connector" && stage_.optimizer.connector_lr > 0
                                             ? stage_.optimizer.connector_lr
                                             : stage_.optimizer.lr));
    return input;
  }

  double rate(double peak) const {
    return recipes::learning_rate(stage_.schedule.kind, peak, step_, total_steps_, stage_.schedule.warmup_ratio);
  }

  void report_skipped(const StepSamples& samples) const {
    std::string ids;
    for (const auto& micro : samples)
      for (const TrainingSample& s : micro) ids += (ids.empty() ? "" : ", ") + s.id;
    std::string text = "step " + std::to_string(step_) + " of " + stage_.name +
                       ": loss or gradient is not finite, update skipped; samples: " + ids;
    log::warning(text);
    (void)context_.link->send(cluster::Log{log::Level::kWarning, text});
  }

  Status report(const sharding::StepStats& stats, double seconds) const {
    cluster::StepProgress p;
    p.stage = stage_.name;
    p.step = step_;
    p.total_steps = total_steps_;
    p.loss = stats.loss;
    p.gradient_norm = stats.gradient_norm;
    p.learning_rate = recipes::learning_rate(stage_.schedule.kind, stage_.optimizer.lr, step_ - 1, total_steps_,
                                             stage_.schedule.warmup_ratio);
    p.tokens_per_second = static_cast<double>(stats.tokens) / std::max(seconds, 1e-9);
    p.step_seconds = seconds;
    p.rss_bytes = resident_bytes();
    p.epoch = static_cast<double>(step_ * stage_.global_batch) / static_cast<double>(source_->size());
    p.loss_tokens = stats.loss_tokens;
    p.skipped = stats.skipped;
    return context_.link->send(p);
  }

  Status checkpoint(bool last) {
    CheckpointJob job;
    job.stage = stage_.name;
    job.step = step_;
    job.pack = storage::pack_name(context_.job, context_.task.attempt, stage_.name, step_, rank_);
    if (rank_ == 0) {
      nlohmann::json meta = {{"sampler_position", static_cast<uint64_t>(step_ * stage_.global_batch)},
                             {"seed", context_.recipe.seed},
                             {"metrics", {{"loss", last_loss_}}},
                             {"stage_complete", last},
                             {"total_steps", total_steps_}};
      job.metadata_json = meta.dump();
    }
    job.snapshot = executor_->snapshot();
    checkpoint_step_ = step_;
    return writer_->submit(std::move(job));
  }

  Status wait_durable() {
    context_.vitals->phase = "write";
    TEPHRA_RETURN_IF_ERROR(writer_->drain());
    if (checkpoint_step_ < 0) return ok_status();
    return context_.link->wait_committed(stage_.name, checkpoint_step_, Deadline::after(std::chrono::minutes(10)));
  }

  Result<bool> any_rank(bool mine) const {
    int world = context_.communicator->world_size();
    std::vector<uint8_t> all(world);
    uint8_t flag = mine;
    TEPHRA_RETURN_IF_ERROR(context_.communicator->all_gather(
        {&flag, 1, DType::kUInt8}, {all.data(), world, DType::kUInt8},
        Deadline::after(
            std::chrono::duration_cast<std::chrono::nanoseconds>(Seconds(context_.recipe.gang.collective_timeout_s)))));
    return std::any_of(all.begin(), all.end(), [](uint8_t f) { return f != 0; });
  }

  const TaskContext& context_;
  const recipes::StageRecipe& stage_;
  const int rank_;
  StageModel model_;
  std::map<std::string, Shape> shapes_;
  std::unique_ptr<SampleSource> source_;
  std::unique_ptr<sharding::Executor> executor_;
  std::unique_ptr<StepLoader> loader_;
  std::unique_ptr<CheckpointWriter> writer_;
  int64_t step_ = 0;
  int64_t total_steps_ = 0;
  int64_t checkpoint_step_ = -1;
  double last_loss_ = 0;
};
}  // namespace

int64_t total_steps(const recipes::StageRecipe& stage, int64_t samples) {
  if (stage.steps > 0) return stage.steps;
  return std::max<int64_t>(1, stage.epochs * samples / stage.global_batch);
}

Status train_stage(const TaskContext& context) { return StageTrainer(context).run(); }

}  // namespace tephra::worker
