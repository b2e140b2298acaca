// What a job does with checkpoints: hands them to ranks, commits what ranks write, and lets go of what its recipe does
// not keep. The rest of JobRunner is in job_runner.cc.
#include <nlohmann/json.hpp>
#include <utility>

#include "base/text.h"
#include "coordinator/checkpoint_care.h"
#include "coordinator/job_runner.h"
#include "storage/handover.h"
#include "storage/pack.h"

namespace tephra::coordinator {
namespace {

// Collecting garbage reads the whole index, so it is not done after every commit.
constexpr std::chrono::seconds kCollectEvery{60};

// Checkpoints that wait for some rank's shard. A rank holds two snapshots at most (checkpoint.when_busy: replace), so no gang of ours
// comes near; one that does says what is not so.
constexpr size_t kPendingCheckpointsMax = 16;

}  // namespace

// On the job's lane, behind the answers that were received before, so that the ranks read them all.
void JobRunner::send_task(cluster::Task task, std::string checkpoint, std::string options_json,
                          storage::HandoverUse use) {
  task.recipe_json = recipes::to_json(recipe_);
  task.attempt = job_.state.attempt;
  task.options_json = std::move(options_json);
  task.work_dir = files_.directory();
  auto self = shared_from_this();
  std::map<std::string, std::string> handover;
  if (const recipes::StageRecipe* stage = recipe_.find_stage(task.stage)) handover = stage_handover(prepared_, *stage);
  storage::Lease lease{storage::pack_prefix(job_.state.id, job_.state.attempt),
                       "job " + job_.state.id + " attempt " + std::to_string(job_.state.attempt),
                       {}};
  if (!checkpoint.empty()) lease.checkpoints.push_back(checkpoint);
  lane_.post([self, task = std::move(task), checkpoint = std::move(checkpoint), lease = std::move(lease),
              handover = std::move(handover), use]() mutable {
    const auto locate = [&]() -> Status {
      TEPHRA_RETURN_IF_ERROR(self->services_.store->acquire_lease(lease));
      if (checkpoint.empty()) return ok_status();
      TEPHRA_ASSIGN_OR_RETURN(const storage::Manifest manifest, self->services_.store->get(checkpoint));
      TEPHRA_RETURN_IF_ERROR(
          storage::check_handover("stage " + task.stage, handover, manifest.name(), manifest.handover, use));
      TEPHRA_ASSIGN_OR_RETURN(const storage::LocatedManifest located, self->services_.store->locate(manifest));
      task.located_manifest = storage::encode(located);
      return ok_status();
    };
    const Status located = locate();
    self->services_.dispatcher->post([self, located, task = std::move(task)] {
      if (self->gang_ == nullptr || self->gang_->ending() || self->gang_->options().attempt != task.attempt) return;
      if (!located.ok()) return self->gang_->fault(kFaultSaid, located.message(), located.retry_class());
      self->gang_->send_all(task);
    });
  });
}

// A checkpoint: its manifest and the job's new state become durable in one batch, or neither does.
void JobRunner::commit(Pending pending, Transition step) {
  const auto& event = std::get<CheckpointCommitted>(pending.event);
  if (!step.changed) {
    if (gang_ != nullptr && event.attempt == job_.state.attempt)
      gang_->send_all(
          cluster::Committed{event.stage, event.step, "", false, "the coordinator does not expect this checkpoint"});
    return next();
  }
  busy_ = true;
  const int64_t now = services_.options->clock->unix_ms();
  JournaledJob job{std::move(step.state), job_.order, job_.events + 1};
  auto self = shared_from_this();
  services_.pool->post(
      [self, job = std::move(job), pending = std::move(pending), actions = std::move(step.actions), now]() mutable {
        const auto begin = std::chrono::steady_clock::now();
        const Result<storage::Manifest> manifest =
            commit_checkpoint(*self->services_.store, *pending.commit, Journal::puts(job, pending.event, now));
        pending.commit_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (manifest.ok()) pending.commit_bytes = manifest->new_bytes;
        self->services_.dispatcher->post([self, status = manifest.status(), job = std::move(job),
                                          pending = std::move(pending), actions = std::move(actions)]() mutable {
          const auto& committed = std::get<CheckpointCommitted>(pending.event);
          if (status.ok()) {
            if (self->gang_ != nullptr)
              self->gang_->send_all(cluster::Committed{committed.stage, committed.step, committed.name, true, ""});
            return self->applied(std::move(job), pending, actions);
          }
          self->busy_ = false;
          if (self->gang_ != nullptr) {
            self->gang_->send_all(cluster::Committed{committed.stage, committed.step, "", false, status.message()});
            const RetryClass retry = status.retry_class() == RetryClass::kNeedsOperator ? RetryClass::kNeedsOperator
                                                                                        : RetryClass::kNewAttempt;
            self->gang_->fault(kFaultSaid,
                               "checkpoint " + committed.name + " could not be committed: " + status.message(), retry);
          }
          self->next();
        });
      });
}

void JobRunner::shard_written(int rank, const cluster::ShardWritten& shard) {
  const std::string name = storage::checkpoint_name(job_.state.id, shard.stage, shard.step);
  const std::vector<std::string>& committed = job_.state.stages[job_.state.stage].checkpoints;
  if (std::find(committed.begin(), committed.end(), name) !=
      committed.end())  // a rank that came back did not hear of it
    return gang_->send(rank, cluster::Committed{shard.stage, shard.step, name, true, ""});
  if (shards_.size() >= kPendingCheckpointsMax && !shards_.contains({shard.stage, shard.step}))
    return gang_->fault(kFaultSaid,
                        "rank " + std::to_string(rank) + " wrote shards of more checkpoints than a rank holds",
                        RetryClass::kPermanent);
  auto& shards = shards_[{shard.stage, shard.step}];
  shards.resize(job_.state.world);
  shards[rank] = shard;
  for (const auto& one : shards)
    if (!one.has_value()) return;
  CommitRequest request;
  request.job = job_.state.id;
  request.stage = shard.stage;
  request.step = shard.step;
  request.attempt = gang_->options().attempt;
  request.recipe_json = job_.state.recipe_json;
  request.input_checkpoint = task_input_;
  for (auto& one : shards) request.shard_summaries.push_back(std::move(one->shard_summary));
  request.metadata_json = std::move(shards[0]->metadata_json);
  request.build = gang_->build();
  if (const recipes::StageRecipe* stage = recipe_.find_stage(shard.stage))
    request.handover = stage_handover(prepared_, *stage);
  // With what some ranks wrote of earlier ones: a rank drops those that gave way to this (checkpoint.when_busy: replace).
  shards_.erase(shards_.lower_bound({shard.stage, 0}), shards_.upper_bound({shard.stage, shard.step}));
  const Result<CheckpointMetadata> metadata = parse_metadata(request.metadata_json);
  if (!metadata.ok()) return gang_->fault(kFaultSaid, metadata.status().message(), RetryClass::kPermanent);
  CheckpointCommitted event{request.attempt,          shard.stage,       shard.step, name,
                            metadata->stage_complete, metadata->gave_way};
  inbox_.push_back({.event = std::move(event), .commit = std::move(request)});
  next();
}

// After a commit, and for all stages before the job's report: a coordinator may have been killed between the two.
void JobRunner::tend(const std::string& stage_name) {
  const recipes::StageRecipe* stage = recipe_.find_stage(stage_name);
  if (stage == nullptr || (!stage->checkpoint.best && !stage->checkpoint.keep)) return;
  auto self = shared_from_this();
  lane_.post([self, stage] {  // of recipe_, which lives as long as the runner
    const int64_t now = self->services_.options->clock->unix_ms();
    const Result<StageCare> care = tend_stage(*self->services_.store, self->job_id_, *stage, now);
    if (!care.ok())
      return self->publish_line(log::Level::kWarning, "checkpoints were not tended: " + care.status().message());
    if (!care->best.empty())
      self->publish_line(log::Level::kInfo, "the best checkpoint of " + stage->name + " is now " + care->best);
    for (const storage::RetentionVerdict& verdict : care->pruned.verdicts)
      if (!verdict.keep)
        self->publish_line(log::Level::kInfo, "checkpoint " + verdict.name + " removed: " + verdict.reason);
    self->garbage_ = self->garbage_ || care->pruned.removed > 0;
    self->collect_garbage(false);
  });
}

// On the lane. `now_or_never`: the job ends.
void JobRunner::collect_garbage(bool now_or_never) {
  const SteadyTime now = services_.options->clock->steady();
  if (!garbage_ || (!now_or_never && collected_at_ && now - *collected_at_ < kCollectEvery)) return;
  const Result<storage::GcReport> report = services_.store->gc(false);
  collected_at_ = now;
  if (!report.ok()) return publish_line(log::Level::kWarning, "no space was given back: " + report.status().message());
  const size_t packs = report->packs.size() + report->rewritten.size();
  garbage_ = packs == 0;  // what a running attempt wrote may go later
  if (packs > 0)
    publish_line(log::Level::kInfo, human_bytes(static_cast<double>(report->bytes)) + " of disk given back in " +
                                        std::to_string(packs) + (packs == 1 ? " pack" : " packs"));
}

// On the lane: for who watches, and in checkpoints.log for who asks later.
void JobRunner::publish_line(log::Level level, const std::string& line) {
  const Status written = files_.append_checkpoint_line(services_.options->clock->unix_ms(), line);
  if (!written.ok()) log::warning("checkpoints.log was not written", {{"job", job_id_}, {"reason", written.message()}});
  auto self = shared_from_this();
  services_.dispatcher->post([self, level, line] {
    JobEvent event = self->make_event(JobEvent::Kind::kLog, line);
    event.level = level;
    self->services_.publish(std::move(event));
  });
}

}  // namespace tephra::coordinator
