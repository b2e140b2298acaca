// What a task is given: the coordinator's message, decoded once, and what the rank owns for its lifetime.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/env.h"
#include "cluster/communicator.h"
#include "cluster/messages.h"
#include "data/prepared.h"
#include "recipes/recipe.h"
#include "storage/checkpoint_reader.h"
#include "worker/link.h"

namespace tephra::worker {

// Options of a task (Task::options_json).
struct TaskOptions {
  int64_t stage_index = 0;
  std::string bench;      // evaluate
  bool resume = false;    // train: the checkpoint is of this stage, so moments and position go on from it
  std::string model_dir;  // kept configuration and tokenizer files: vision/ and language/, or llava/
  std::string packs_dir;
  std::string answers_file;  // evaluate: answers of an earlier attempt, one JSON object a line; may be empty
  std::map<std::string, data::PreparedDataset> datasets;
};

struct TaskContext {
  std::string job;
  cluster::Task task;
  TaskOptions options;
  recipes::Recipe recipe;
  std::unique_ptr<storage::CheckpointReader> checkpoint;  // null: parameters start from their initial values
  cluster::Communicator* communicator = nullptr;
  Link* link = nullptr;
  Vitals* vitals = nullptr;
  Env* env = nullptr;

  const recipes::StageRecipe& stage() const { return recipe.stages[options.stage_index]; }
  std::chrono::nanoseconds collective_timeout() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(recipe.gang.collective_timeout_s));
  }
  Deadline collective_deadline() const { return Deadline::after(collective_timeout()); }
};

// kInvalidArgument or kCorruption when the message does not make sense: the coordinator and the worker are of different builds.
// kMismatch when the checkpoint is not one that the stage can start from, go on from or be evaluated on (storage/handover.h).
Result<TaskContext> decode_task(const cluster::Task& task, Env& env);

}  // namespace tephra::worker
