// Which checkpoints are needed and which may go: what the coordinator does after each commit, and `tephra ckpt prune`
// when it is asked to. The rules are storage/index/retention.h's; this is where what they need comes from.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "recipes/recipe.h"
#include "storage/index/retention.h"
#include "storage/index/store.h"

namespace tephra::coordinator {

// Checkpoints that a job needs, with the sentence's end that says so: an unfinished job goes on from its stages' last
// ones and starts from its base; with `reports`, also those that finished jobs' reports tell of. Blocks on disk.
Result<std::map<std::string, std::string>> needed_by_jobs(storage::Store& store, bool reports);
// Those, and what tags, pins and leases hold.
Result<std::map<std::string, std::string>> held_checkpoints(storage::Store& store);

// Of a stage; empty when the recipe keeps all.
storage::RetentionPolicy retention_policy(const recipes::CheckpointRecipe& checkpoint);

struct PruneReport {
  std::vector<storage::RetentionVerdict> verdicts;  // of each checkpoint that was looked at
  int64_t removed = 0;                              // or would be
  uint64_t removed_bytes = 0;                       // that those wrote; the next gc gives them back
};
// Applies `policy` to `checkpoints` of the store and removes what it lets go, unless `dry_run`. A checkpoint that
// something came to hold meanwhile stays. Blocks on disk.
Result<PruneReport> prune(storage::Store& store, const std::vector<storage::CheckpointInfo>& checkpoints,
                          const storage::RetentionPolicy& policy, int64_t now_unix_ms, bool dry_run);

struct StageCare {
  std::string best;  // where JOB/STAGE@best was moved to; empty: it stays
  PruneReport pruned;
};
// After a commit of the stage: moves its best tag and prunes, as its recipe says. Doing it again changes nothing, so a
// coordinator that was killed in between does it with the next commit, or before the report.
Result<StageCare> tend_stage(storage::Store& store, const std::string& job, const recipes::StageRecipe& stage,
                             int64_t now_unix_ms);

}  // namespace tephra::coordinator
