// What happens to a recipe before ranks exist: datasets are made or checked, the base model's tensors go into the store
// once, and the small files that ranks and exports need (configuration, tokenizer, preprocessing) are kept, so that the
// user's folders may go away afterwards.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "base/status.h"
#include "data/prepared.h"
#include "recipes/recipe.h"

namespace tephra::storage {
class Store;
struct Manifest;
}  // namespace tephra::storage

namespace tephra::coordinator {

struct PreparedJob {
  std::string base_checkpoint;  // "base/HASH@0", or what the job is a fork of; empty: initial values
  std::string model_dir;        // STORE/models/HASH with vision/ and language/, or llava/
  std::map<std::string, data::PreparedDataset> datasets;  // by name in the recipe
  std::map<std::string, std::string> handover;  // what is the same for all stages: vision_config, tokenizer, base, ...
  std::map<std::string, std::string> data_hashes;  // by stage: of the files that it trains on
  int64_t resume_step = 0;  // of a fork that goes on: the first stage begins behind this step of base_checkpoint
};
// The vision tower's and the language model's weights of a base model by their bytes, for its hand-over. The name of the
// base would not do: it changes with a connector that was drawn.
std::map<std::string, std::string> weight_hashes(const storage::Manifest& base);
// What a checkpoint of `stage` says of itself, and what one that the stage uses must agree with (storage/handover.h).
std::map<std::string, std::string> stage_handover(const PreparedJob& prepared, const recipes::StageRecipe& stage);

std::string to_json(const PreparedJob& prepared);
Result<PreparedJob> prepared_from_json(const std::string& text);  // kCorruption

struct PreparationContext {
  storage::Store* store = nullptr;
  std::string store_dir;
  int64_t machine_bytes = 0;                            // memory that the ranks may take together; 0: not looked at
  const std::atomic<bool>* cancelled = nullptr;         // looked at between steps; kCancelled
  std::function<void(const std::string& line)> report;  // what is being done, one line each; may be empty
  std::function<void(uint64_t done, uint64_t total)> import_progress{};  // bytes of the base model; may be empty
};

// Blocks, seconds to minutes. One at a time for each store: two preparations could write the same dataset.
// kInvalidArgument with all diagnostics in the message, one a line, when the user's input does not hold; kNoSpace when
// the disk is too small; kUnavailable when the longest samples do not fit the memory; kNotFound,
// kMismatch when the checkpoint of a fork is not there or is another model's, with each difference.
Result<PreparedJob> prepare_job(const recipes::Recipe& recipe, const PreparationContext& context);

// A model's folder in the Hugging Face layout (llava, llama or clip) as a checkpoint "base/HASH@0" that jobs can be forks
// of, with its small files kept. Of the same bytes twice: the first one. Blocks while everything is read.
Result<storage::Manifest> import_model(const std::string& folder, const PreparationContext& context);

}  // namespace tephra::coordinator
