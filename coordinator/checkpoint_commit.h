// Ranks' shards to one committed checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "coordinator/journal.h"
#include "storage/index/store.h"

namespace tephra::coordinator {

struct CommitRequest {
  std::string job;
  std::string stage;
  int64_t step = 0;
  uint32_t attempt = 0;
  std::string recipe_json;
  std::string
      input_checkpoint;  // that the task started from: the parent, and the source of frozen tensors; may be empty
  std::vector<std::string> shard_summaries;  // one a rank, in storage's encoding
  std::string metadata_json;                 // rank 0's
  std::string build;
  std::map<std::string, std::string> handover;
};

// What rank 0 says of a checkpoint beside its tensors.
struct CheckpointMetadata {
  uint64_t sampler_position = 0;
  uint64_t seed = 0;
  bool stage_complete = false;
  std::map<std::string, double> metrics;
  std::vector<int64_t> gave_way;  // steps whose checkpoints were due in this attempt and not written
};
// {"sampler_position", "seed", "stage_complete", "metrics": {name: number}, "gave_way": [step]}, each may be absent.
// kCorruption.
Result<CheckpointMetadata> parse_metadata(const std::string& json);

// Merges and commits with `extra` in the same batch. Blocks on disk. Failures as Store::commit; shards that do not fit
// together: kMismatch. Retry class of both: a new attempt, whose ranks write anew.
Result<storage::Manifest> commit_checkpoint(storage::Store& store, const CommitRequest& request,
                                            const std::vector<storage::Put>& extra);

}  // namespace tephra::coordinator
