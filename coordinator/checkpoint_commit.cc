#include "coordinator/checkpoint_commit.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace tephra::coordinator {
namespace {

using nlohmann::json;
using storage::ManifestTensor;
using storage::StateKind;

// Parameters of the parent that nobody wrote: they were not trained, and the new checkpoint names the same chunks.
void add_frozen(const storage::Manifest& parent, std::vector<ManifestTensor>* tensors) {
  std::set<std::string> written;
  for (const ManifestTensor& tensor : *tensors)
    if (tensor.kind == StateKind::kParameter) written.insert(tensor.name);
  for (const ManifestTensor& tensor : parent.tensors) {
    if (tensor.kind != StateKind::kParameter || written.contains(tensor.name)) continue;
    tensors->push_back(tensor);
    tensors->back().frozen = true;
  }
  std::sort(tensors->begin(), tensors->end(), [](const ManifestTensor& a, const ManifestTensor& b) {
    return std::pair(a.name, a.kind) < std::pair(b.name, b.kind);
  });
}

}  // namespace

Result<CheckpointMetadata> parse_metadata(const std::string& text) {
  CheckpointMetadata metadata;
  const json document = json::parse(text, nullptr, false);
  if (!document.is_object())
    return Status(Code::kCorruption, "rank 0 sent a checkpoint's metadata that is not a JSON object");
  try {
    metadata.sampler_position = document.value("sampler_position", uint64_t{0});
    metadata.seed = document.value("seed", uint64_t{0});
    metadata.stage_complete = document.value("stage_complete", false);
    metadata.gave_way = document.value("gave_way", std::vector<int64_t>{});
    if (document.contains("metrics"))
      for (const auto& [name, value] : document.at("metrics").items())
        if (value.is_number()) metadata.metrics[name] = value.get<double>();
  } catch (const json::exception& error) {
    return Status(Code::kCorruption,
                  std::string("rank 0 sent a checkpoint's metadata with a wrong field: ") + error.what());
  }
  return metadata;
}

Result<storage::Manifest> commit_checkpoint(storage::Store& store, const CommitRequest& request,
                                            const std::vector<storage::Put>& extra) {
  TEPHRA_ASSIGN_OR_RETURN(const CheckpointMetadata metadata, parse_metadata(request.metadata_json));
  std::vector<storage::ShardSummary> shards;
  std::vector<storage::PackSummary> packs;
  for (const std::string& bytes : request.shard_summaries) {
    TEPHRA_ASSIGN_OR_RETURN(storage::ShardSummary shard, storage::decode_shard_summary(bytes));
    packs.push_back(shard.pack);
    shards.push_back(std::move(shard));
  }
  storage::Manifest manifest;
  TEPHRA_ASSIGN_OR_RETURN(manifest.tensors, storage::merge(shards));
  if (!request.input_checkpoint.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(const storage::Manifest parent, store.get(request.input_checkpoint));
    add_frozen(parent, &manifest.tensors);
  }
  manifest.job = request.job;
  manifest.stage = request.stage;
  manifest.step = request.step;
  manifest.attempt = request.attempt;
  manifest.parent = request.input_checkpoint;
  manifest.sampler_position = metadata.sampler_position;
  manifest.seed = metadata.seed;
  manifest.metrics = metadata.metrics;
  manifest.stage_complete = metadata.stage_complete;
  manifest.recipe_json = request.recipe_json;
  manifest.handover = request.handover;
  manifest.build = request.build;
  return store.commit(std::move(manifest), packs, extra);
}

}  // namespace tephra::coordinator
