// From a recipe to what running it takes: memory of a rank by part, seconds of a step, hours, bytes on disk. Reads the
// model's configuration files and nothing else; the tensors' folders may be without weights. `tephra plan` prints it,
// and admission refuses a job by it. docs/planning.md explains the numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "recipes/recipe.h"
#include "sharding/plan/checkpoints.h"
#include "sharding/plan/device.h"
#include "sharding/plan/schedule.h"
#include "sharding/plan/step_time.h"

namespace tephra::coordinator {

// What a plan cannot read from the recipe; 0 where it is not known.
struct DataFacts {
  int64_t samples = 0;
  double tokens = 0;    // of a mean sample, its pictures' and its padding's included; 0: as many as the longest
  int64_t longest = 0;  // tokens of the longest sample, at most the stage's max_length; 0: that
  double images = 1;    // pictures of a mean sample
};
// "align=558128,tokens=620,longest=700,images=1": the dataset's name with its samples, and what else is known.
// kInvalidArgument with what is wrong and the form.
Result<std::pair<std::string, DataFacts>> parse_data_facts(const std::string& text);

struct PlanSetting {
  std::optional<sharding::Cluster> cluster;  // none: this machine's memory, the recipe's ranks and no times
  sharding::Numbers numbers = sharding::Numbers::kFloat32;
  std::map<std::string, DataFacts> data;  // by the dataset's name
  int64_t machine_bytes = 0;              // without a cluster: memory that all ranks share; 0: not looked at
};

struct PlannedStage {
  std::string name;
  std::vector<sharding::UnitSpec> units;
  sharding::Policy policy;
  std::string prefetch_reason;  // why policy.prefetch was chosen, where the recipe says auto
  sharding::Schedule schedule;
  sharding::MicroBatchSize longest, mean;  // of micro-batches: memory is of the longest, time of the mean
  sharding::StepEstimate estimate;         // at the longest
  int64_t runtime_bytes = 0;               // of the process, beside what the estimate counts
  int64_t feature_cache_bytes = 0;         // at most
  std::optional<sharding::StepTime> time;  // at the mean
  int64_t samples = 0, steps = 0;          // of the stage; 0: not known
  double tokens_per_step = 0;              // of all ranks, at the mean
  int64_t checkpoint_bytes = 0, checkpoint_count = 0;
  int64_t checkpoint_peak = 0;  // the most of them that are on disk at one time
  int64_t memory_bytes() const { return estimate.memory.total() + runtime_bytes + feature_cache_bytes; }
};

// The stage's model as units with tensors' names and shapes, from the configuration files.
struct StageUnits {
  std::vector<sharding::UnitSpec> units;
  int64_t image_tokens = 0;  // of one picture
};
Result<StageUnits> units_of(const recipes::Recipe& recipe, const recipes::StageRecipe& stage);

sharding::KeptCheckpoints kept_checkpoints(const recipes::CheckpointRecipe& checkpoint);

// kInvalidArgument, kUnsupported: the configuration files, or a stage that the ranks cannot share out, with the remedy.
// Ranks are the cluster's if there is one, else gang.ranks.
Result<PlannedStage> plan_stage(const recipes::Recipe& recipe, const recipes::StageRecipe& stage,
                                const PlanSetting& setting);

// Bytes that a rank may take: the device's memory, or its part of the machine's. 0: not known.
int64_t memory_of_a_rank(const PlanSetting& setting, const PlannedStage& plan);
// Also true where that is not known.
bool fits(const PlanSetting& setting, const PlannedStage& plan);

// Nothing when the stage fits. Else a sentence: what it needs of what there is, and the first knob that makes it fit with the figure
// then; tried in this order, each alone, then together: sharding.shard, sharding.recompute, micro_batch, ranks, lora. A unit that is
// larger than the memory by itself is said so.
std::optional<std::string> why_not(const recipes::Recipe& recipe, const recipes::StageRecipe& stage,
                                   const PlanSetting& setting, const PlannedStage& plan);

// The base model's tensors, which the store keeps once: the weight files' sizes, or two bytes a value where there are none yet.
int64_t base_bytes(const recipes::Recipe& recipe, const PlannedStage& first);

}  // namespace tephra::coordinator
