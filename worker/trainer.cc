#include "worker/trainer.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/diagnostic.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/utf8.h"
#include "model/spec/model_folder.h"
#include "recipes/lr_schedule.h"
#include "sharding/exec/executor.h"
#include "sharding/plan/prefetch.h"
#include "sharding/policy/stage_policy.h"
#include "storage/pack.h"
#include "worker/agreement.h"
#include "worker/checkpoint_writer.h"
#include "worker/skipped_steps.h"
#include "worker/stage_model.h"
#include "worker/step_loader.h"

namespace tephra::worker {
namespace {

using Seconds = std::chrono::duration<double>;

// In a checkpoint's metrics, so that a limit counts over restarts; absent: 0.
constexpr const char* kSkippedInARow = "skipped_in_a_row";
// A checkpoint is written over that many steps, or over that part of those until the next is due where this is less: a step
// beside the writing is then a hundredth longer rather than a tenth.
constexpr double kSpreadSteps = 10, kSpreadOfInterval = 0.75;
constexpr size_t kGaveWay = 256;       // of the last steps whose checkpoints gave way, in each checkpoint's metadata
constexpr size_t kFlightIdBytes = 80;  // of a sample's id in the flight

sharding::OptimizerOptions optimizer_of(const recipes::OptimizerRecipe& recipe) {
  return {.kind = recipe.kind == "sgd" ? sharding::OptimizerKind::kSgd : sharding::OptimizerKind::kAdamW,
          .beta1 = recipe.betas[0],
          .beta2 = recipe.betas[1],
          .epsilon = recipe.eps,
          .momentum = recipe.momentum,
          .nesterov = recipe.nesterov,
          .weight_decay = recipe.weight_decay,
          .clip_norm = recipe.clip_norm};
}

std::vector<std::string> ids_of(const StepSamples& samples) {
  std::vector<std::string> ids;
  for (const auto& micro : samples)
    for (const TrainingSample& sample : micro) {
      // An id may be a file's name, which is any bytes, and it travels as text.
      ids.push_back(data::replace_invalid_utf8(sample.id.substr(0, kFlightIdBytes)));
    }
  return ids;
}

// One stage in progress. The steps are straight-line; what a step needs is made once in prepare().
class StageTrainer {
 public:
  explicit StageTrainer(const TaskContext& context)
      : context_(context),
        stage_(context.stage()),
        rank_(context.communicator->rank()),
        skips_(stage_.optimizer, stage_.name, skipped_before(context)),
        during_(context.recipe.benches_during(stage_)) {}

  Status run() {
    TEPHRA_RETURN_IF_ERROR(prepare());
    context_.vitals->phase = "step";
    for (step_ = first_step(); step_ < total_steps_;) {
      TEPHRA_ASSIGN_OR_RETURN(const StepAgreement agreed, train_one_step());
      const bool stop = agreed.stop;
      context_.vitals->flight.end_step();
      bool last = step_ == total_steps_;
      int64_t every = stage_.checkpoint.every_steps;
      // A bench is run on this step's checkpoint: the task ends with it, and another goes on from there.
      const bool pause = recipes::bench_runs_at(during_, step_);
      if (last || stop || pause || (every > 0 && step_ % every == 0))
        TEPHRA_RETURN_IF_ERROR(checkpoint(last, last || stop || pause, agreed.busy));
      TEPHRA_RETURN_IF_ERROR(context_.link->commit_failure());
      if (stop && !last) {
        TEPHRA_RETURN_IF_ERROR(wait_durable());
        return {Code::kCancelled, "stopped at step " + std::to_string(step_) + " of stage " + stage_.name};
      }
      if (pause) break;
    }
    TEPHRA_RETURN_IF_ERROR(tell_features());
    return wait_durable();
  }

 private:
  static int64_t skipped_before(const TaskContext& context) {
    if (!context.options.resume || context.checkpoint == nullptr) return 0;
    const auto& metrics = context.checkpoint->manifest().metrics;
    const auto found = metrics.find(kSkippedInARow);
    return found == metrics.end() ? 0 : static_cast<int64_t>(found->second);
  }

  int64_t first_step() const { return context_.options.resume ? static_cast<int64_t>(context_.task.start_step) : 0; }

  Status prepare() {
    context_.vitals->phase = "load";
    TEPHRA_ASSIGN_OR_RETURN(model_, build_stage_model(context_));
    TEPHRA_ASSIGN_OR_RETURN(source_, open_samples(context_, model_.tokenizer, model_.preprocess));
    total_steps_ = stage_.total_steps(source_->size());
    TEPHRA_RETURN_IF_ERROR(load_executor());

    data::SampleOrder order;
    order.seed =
        static_cast<uint64_t>(context_.recipe.seed) * 1000003u + static_cast<uint64_t>(context_.options.stage_index);
    order.dataset_size = static_cast<uint64_t>(source_->size());
    share_.micro_batch = stage_.micro_batch;
    share_.per_step = stage_.micro_batches_per_step();
    share_.count = share_.per_step / context_.communicator->world_size();
    share_.first = share_.count * rank_;
    loader_ = std::make_unique<StepLoader>(source_.get(), order, share_, first_step(), total_steps_);
    writer_ = std::make_unique<CheckpointWriter>(context_.env, context_.options.packs_dir, context_.link);
    return ok_status();
  }

  Status load_executor() {
    if (context_.checkpoint) {
      auto problems = model::check_against_units(*context_.checkpoint, model_.units,
                                                 context_.checkpoint->manifest().name(), {"connector", "lora"});
      if (!problems.empty()) return {Code::kMismatch, RetryClass::kPermanent, to_string(problems)};
    }
    TEPHRA_ASSIGN_OR_RETURN(sharding::Policy policy,
                            sharding::stage_policy(stage_, context_.communicator->world_size()));
    if (stage_.sharding.prefetch == "auto") TEPHRA_RETURN_IF_ERROR(choose_prefetch(policy));
    TEPHRA_ASSIGN_OR_RETURN(
        executor_, sharding::Executor::create(model_.units, std::move(model_.modules), context_.communicator, policy,
                                              optimizer_of(stage_.optimizer), context_.collective_timeout(),
                                              &context_.vitals->flight));
    for (const sharding::UnitSpec& unit : model_.units)
      for (const sharding::TensorSpec& tensor : unit.tensors) shapes_[tensor.name] = tensor.shape;
    return executor_->load([this](const std::string& tensor, sharding::StateKind kind, int64_t begin, int64_t count,
                                  float* out) { return read_state(tensor, kind, begin, count, out); },
                           context_.options.resume);
  }

  // Gathers are in one order on all ranks, which may have different memories: the smallest depth that one chooses.
  Status choose_prefetch(sharding::Policy& policy) const {
    const int64_t machine = machine_memory_bytes();  // 0: not known, and then no limit
    const int64_t memory =
        machine > 0 ? std::max<int64_t>(1, machine / policy.world_size - stage_.feature_cache_bytes()) : 0;
    const sharding::MicroBatchSize longest{.tokens = stage_.micro_batch * stage_.max_length,
                                           .length = stage_.max_length};
    const sharding::PrefetchChoice mine = sharding::choose_prefetch(model_.units, policy, longest, memory, nullptr);
    TEPHRA_ASSIGN_OR_RETURN(
        const std::vector<std::string> depths,
        gather_texts(*context_.communicator, std::to_string(mine.depth), context_.collective_deadline()));
    policy.prefetch = mine.depth;
    for (const std::string& depth : depths) policy.prefetch = std::min(policy.prefetch, std::stoi(depth));
    return tell("stage " + stage_.name + ": prefetch " + std::to_string(policy.prefetch) + " (auto: " + mine.reason +
                ")");
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

  Result<StepAgreement> train_one_step() {
    auto started = std::chrono::steady_clock::now();
    FlightRecorder& flight = context_.vitals->flight;
    flight.begin_step(step_ + 1);
    flight.begin({.op = FlightOp::kData});
    TEPHRA_ASSIGN_OR_RETURN(auto samples, loader_->next());
    flight.set_samples(ids_of(samples), static_cast<int>(stage_.micro_batch));
    std::vector<std::unique_ptr<sharding::MicroBatch>> batches;
    std::vector<const sharding::MicroBatch*> views;
    for (const auto& micro : samples) {
      TEPHRA_ASSIGN_OR_RETURN(auto batch, model_.make_batch(micro));
      views.push_back(batch.get());
      batches.push_back(std::move(batch));
    }
    sharding::StepInput input = step_input();
    TEPHRA_ASSIGN_OR_RETURN(auto stats, executor_->train_step(views, input));
    ++step_;
    context_.vitals->step = step_;
    last_loss_ = stats.loss;
    context_.vitals->flight.begin({.op = FlightOp::kAgree, .sequence = context_.communicator->sequence() + 1});
    TEPHRA_ASSIGN_OR_RETURN(const StepAgreement agreed,
                            agree_on_step(*context_.communicator, context_.link->stop_requested(), writer_->busy(),
                                          samples, context_.collective_deadline()));
    const Seconds took = std::chrono::steady_clock::now() - started;
    fastest_step_ = std::min(fastest_step_, took);
    const double seconds = took.count();
    if (rank_ == 0) TEPHRA_RETURN_IF_ERROR(report(stats, agreed.samples, seconds));
    if (stats.skipped) {
      TEPHRA_RETURN_IF_ERROR(skipped(stats, samples));
    } else {
      skips_.went_well();
    }
    return agreed;
  }

  sharding::StepInput step_input() const {
    sharding::StepInput input;
    input.optimizer_step = step_ + 1;
    input.learning_rate = learning_rates(stage_, model_.units, step_, total_steps_);
    return input;
  }

  // Every rank knows of it by the same numbers; each knows the ids of its own samples only.
  Status skipped(const sharding::StepStats& stats, const StepSamples& samples) {
    const std::string mine = suspect_ids(suspects(stats), samples, static_cast<size_t>(share_.first));
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<std::string> ids,
                            gather_texts(*context_.communicator, mine, context_.collective_deadline()));
    TEPHRA_ASSIGN_OR_RETURN(const std::string line, skips_.skipped(step_, stats, ids));
    if (rank_ != 0) return ok_status();
    log::warning(line);
    (void)context_.link->send(cluster::Log{log::Level::kWarning, line});
    return ok_status();
  }

  Status report(const sharding::StepStats& stats, const Hash128& samples, double seconds) const {
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
    p.samples_hash = samples.hex();
    return context_.link->send(p);
  }

  // `must`: it is not left out whatever the recipe says. `busy`: some rank is still writing; all know the same.
  Status checkpoint(bool last, bool must, bool busy) {
    const std::string& when_busy = stage_.checkpoint.when_busy;
    if (busy && !must && when_busy == "skip")
      return gave_way(step_, "checkpoint at step " + std::to_string(step_) +
                                 " was left out (checkpoint.when_busy: skip), because that of step " +
                                 std::to_string(checkpoint_step_) + " was still being written");
    CheckpointJob job;
    job.stage = stage_.name;
    job.step = step_;
    job.pack = storage::pack_name(context_.job, context_.task.attempt, stage_.name, step_, rank_);
    if (rank_ == 0) {
      nlohmann::json metrics = {{"loss", last_loss_}};
      if (skips_.in_a_row() > 0) metrics[kSkippedInARow] = skips_.in_a_row();
      nlohmann::json meta = {{"sampler_position", static_cast<uint64_t>(step_ * stage_.global_batch)},
                             {"seed", context_.recipe.seed},
                             {"metrics", metrics},
                             {"stage_complete", last},
                             {"gave_way", gave_way_},
                             {"total_steps", total_steps_}};
      job.metadata_json = meta.dump();
    }
    if (!must)
      job.spread = std::chrono::duration_cast<std::chrono::nanoseconds>(
          fastest_step_ *
          std::min(kSpreadSteps, kSpreadOfInterval * static_cast<double>(stage_.checkpoint.every_steps)));
    job.snapshot = executor_->snapshot();
    checkpoint_step_ = step_;
    if (must || when_busy != "replace") return writer_->submit(std::move(job));
    std::optional<int64_t> dropped;
    TEPHRA_RETURN_IF_ERROR(writer_->submit_newest(std::move(job), &dropped));
    if (!dropped) return ok_status();
    return gave_way(*dropped, "checkpoint at step " + std::to_string(*dropped) + " gave way to that of step " +
                                  std::to_string(step_) + ", because one before them was still being written");
  }

  // The next checkpoint tells the coordinator, which keeps it.
  Status gave_way(int64_t step, const std::string& line) {
    gave_way_.push_back(step);
    if (gave_way_.size() > kGaveWay) gave_way_.erase(gave_way_.begin());
    return tell(line);
  }

  // A line of the job's log, from rank 0.
  Status tell(const std::string& line) const {
    if (rank_ != 0) return ok_status();
    log::info(line);
    return context_.link->send(cluster::Log{log::Level::kInfo, line});
  }

  // Rank 0's, of its own pictures.
  Status tell_features() const {
    if (!model_.features) return ok_status();
    const model::FeatureCache& kept = *model_.features;
    return tell("stage " + stage_.name + ": features of " + std::to_string(kept.found()) + " pictures of " +
                std::to_string(kept.found() + kept.missed()) + " were kept from before, in " +
                human_bytes(static_cast<double>(kept.held_bytes())));
  }

  Status wait_durable() {
    context_.vitals->phase = "write";
    TEPHRA_RETURN_IF_ERROR(writer_->drain());
    if (checkpoint_step_ < 0) return ok_status();
    return context_.link->wait_committed(stage_.name, checkpoint_step_, Deadline::after(std::chrono::minutes(10)));
  }

  const TaskContext& context_;
  const recipes::StageRecipe& stage_;
  const int rank_;
  SkippedSteps skips_;
  const std::map<std::string, int64_t> during_;  // steps between the runs of benches
  StepShare share_;
  StageModel model_;
  std::map<std::string, Shape> shapes_;
  std::unique_ptr<SampleSource> source_;
  std::unique_ptr<sharding::Executor> executor_;
  std::unique_ptr<StepLoader> loader_;
  std::unique_ptr<CheckpointWriter> writer_;
  int64_t step_ = 0;
  int64_t total_steps_ = 0;
  int64_t checkpoint_step_ = -1;
  std::vector<int64_t> gave_way_;
  Seconds fastest_step_{60};
  double last_loss_ = 0;
};
}  // namespace

std::vector<double> learning_rates(const recipes::StageRecipe& stage, const std::vector<sharding::UnitSpec>& units,
                                   int64_t step_index, int64_t total_steps) {
  const recipes::OptimizerRecipe& optimizer = stage.optimizer;
  std::vector<double> rates;
  for (const sharding::UnitSpec& unit : units) {
    const bool own = unit.group == "connector" && optimizer.connector_lr > 0;
    rates.push_back(recipes::learning_rate(stage.schedule.kind, own ? optimizer.connector_lr : optimizer.lr, step_index,
                                           total_steps, stage.schedule.warmup_ratio));
  }
  return rates;
}

Status train_stage(const TaskContext& context) { return StageTrainer(context).run(); }

}  // namespace tephra::worker
