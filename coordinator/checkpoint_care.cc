#include "coordinator/checkpoint_care.h"

#include <algorithm>

#include "coordinator/journal.h"
#include "coordinator/preparation.h"
#include "recipes/quantity.h"

namespace tephra::coordinator {
using storage::CheckpointInfo;

Result<std::map<std::string, std::string>> needed_by_jobs(storage::Store& store, bool reports) {
  std::map<std::string, std::string> needed;
  const auto note_stages = [&](const JobState& state, const std::string& why) {
    for (const StageState& stage : state.stages)
      if (!stage.checkpoint.empty()) needed[stage.checkpoint] = why;
  };
  const auto note_ended = [&](const JournaledJob& job) {
    if (reports) note_stages(job.state, "in the report of job " + job.state.id);
    return ok_status();
  };
  TEPHRA_ASSIGN_OR_RETURN(const auto jobs, Journal(store).load_unfinished(note_ended));
  for (const JournaledJob& job : jobs) {
    const JobState& state = job.state;
    note_stages(state, "job " + state.id + " goes on from it");
    if (state.prepared_json.empty()) continue;
    const Result<PreparedJob> prepared = prepared_from_json(state.prepared_json);
    if (prepared.ok() && !prepared->base_checkpoint.empty())
      needed.try_emplace(prepared->base_checkpoint, "job " + state.id + " starts from it");
  }
  return needed;
}

Result<std::map<std::string, std::string>> held_checkpoints(storage::Store& store) {
  TEPHRA_ASSIGN_OR_RETURN(auto held, needed_by_jobs(store, true));
  TEPHRA_ASSIGN_OR_RETURN(const auto leases, store.leases());
  for (const storage::Lease& lease : leases)
    for (const std::string& name : lease.checkpoints) held[name] = "in use by " + lease.holder;
  TEPHRA_ASSIGN_OR_RETURN(const auto pins, store.pins());
  for (const std::string& name : pins) held[name] = "pinned";
  TEPHRA_ASSIGN_OR_RETURN(const auto tags, store.tags());
  for (const auto& [tag, name] : tags) held[name] = "tagged '" + tag + "'";
  return held;
}

storage::RetentionPolicy retention_policy(const recipes::CheckpointRecipe& checkpoint) {
  storage::RetentionPolicy policy;
  if (!checkpoint.keep) return policy;
  const recipes::BestRecipe best = checkpoint.best.value_or(recipes::BestRecipe{});
  policy.last = checkpoint.keep->last;
  policy.best = checkpoint.keep->best;
  policy.metric = best.metric;
  policy.largest_is_best = best.mode == "max";
  policy.every_steps = checkpoint.keep->every;
  policy.max_age_ms = recipes::parse_duration_ms(checkpoint.keep->max_age).value_or(0);
  policy.max_bytes = recipes::parse_bytes(checkpoint.keep->max_bytes).value_or(0);
  return policy;
}

Result<PruneReport> prune(storage::Store& store, const std::vector<CheckpointInfo>& checkpoints,
                          const storage::RetentionPolicy& policy, int64_t now_unix_ms, bool dry_run) {
  TEPHRA_ASSIGN_OR_RETURN(const auto held, held_checkpoints(store));
  PruneReport report;
  report.verdicts = storage::retain(checkpoints, policy, held, now_unix_ms);
  for (storage::RetentionVerdict& verdict : report.verdicts) {
    if (verdict.keep) continue;
    const Status removed = dry_run ? ok_status() : store.remove(verdict.name);
    if (removed.code() == Code::kBusy) {
      verdict.keep = true;
      verdict.reason = removed.message();
      continue;
    }
    if (!removed.ok() && removed.code() != Code::kNotFound) return removed;
    ++report.removed;
    report.removed_bytes += verdict.bytes;
  }
  return report;
}

Result<StageCare> tend_stage(storage::Store& store, const std::string& job, const recipes::StageRecipe& stage,
                             int64_t now_unix_ms) {
  StageCare care;
  const recipes::CheckpointRecipe& checkpoint = stage.checkpoint;
  if (!checkpoint.best && !checkpoint.keep) return care;
  TEPHRA_ASSIGN_OR_RETURN(auto checkpoints, store.list(job));
  std::erase_if(checkpoints, [&](const CheckpointInfo& info) { return info.header.stage != stage.name; });
  if (checkpoint.best && stage.require.empty()) {  // with gates, only passing them moves the tag
    const std::string tag = job + "/" + stage.name + "@best";
    const CheckpointInfo* best = storage::best_of(checkpoints, checkpoint.best->metric, checkpoint.best->mode == "max");
    if (best != nullptr && std::find(best->tags.begin(), best->tags.end(), tag) == best->tags.end()) {
      TEPHRA_RETURN_IF_ERROR(store.tag(tag, best->name));
      care.best = best->name;
    }
  }
  const storage::RetentionPolicy policy = retention_policy(checkpoint);
  if (policy.empty()) return care;
  TEPHRA_ASSIGN_OR_RETURN(care.pruned, prune(store, checkpoints, policy, now_unix_ms, false));
  return care;
}

}  // namespace tephra::coordinator
