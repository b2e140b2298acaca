#include "storage/record_codec.h"

namespace tephra::storage {
namespace {
constexpr uint32_t kManifestVersion = 3;

void to_record(const Hash128& hash, v1::HashRecord* record) {
  record->set_high(hash.high);
  record->set_low(hash.low);
}
Hash128 from_record(const v1::HashRecord& record) { return {record.high(), record.low()}; }

// A pack's name becomes a file name: nothing in it may lead out of the folder.
Status check_pack_name(const std::string& name) {
  if (name.empty() || name.size() > 240 || name.front() == '.' || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos)
    return {Code::kCorruption, "impossible pack name '" + name + "'"};
  return ok_status();
}
}  // namespace

void to_record(const ChunkRef& chunk, v1::ChunkRefRecord* record) {
  record->set_hash_high(chunk.hash.high);
  record->set_hash_low(chunk.hash.low);
  record->set_length(chunk.length);
}
ChunkRef from_record(const v1::ChunkRefRecord& record) {
  return {{record.hash_high(), record.hash_low()}, record.length()};
}

void to_record(const ManifestTensor& tensor, v1::TensorRecord* record) {
  record->set_name(tensor.name);
  record->set_kind(static_cast<v1::StateKindRecord>(tensor.kind));
  record->set_dtype(std::string(dtype_name(tensor.dtype)));
  for (int64_t dim : tensor.shape) record->add_shape(dim);
  if (tensor.content != Hash128{}) to_record(tensor.content, record->mutable_content());
  record->set_frozen(tensor.frozen);
  for (const Piece& piece : tensor.pieces) {
    v1::PieceRecord* out = record->add_pieces();
    out->set_begin(piece.begin);
    out->set_count(piece.count);
    to_record(piece.chunk, out->mutable_chunk());
    out->set_offset_in_chunk(piece.offset_in_chunk);
  }
}

Result<ManifestTensor> from_record(const v1::TensorRecord& record) {
  ManifestTensor tensor;
  tensor.name = record.name();
  if (record.kind() < v1::STATE_KIND_PARAMETER || record.kind() > v1::STATE_KIND_SECOND_MOMENT)
    return Status(Code::kCorruption, "tensor " + tensor.name + " has an unknown kind of state");
  tensor.kind = static_cast<StateKind>(record.kind());
  TEPHRA_ASSIGN_OR_RETURN(tensor.dtype, parse_dtype(record.dtype()));
  tensor.shape.assign(record.shape().begin(), record.shape().end());
  tensor.content = from_record(record.content());
  tensor.frozen = record.frozen();
  tensor.pieces.reserve(record.pieces_size());
  for (const v1::PieceRecord& piece : record.pieces())
    tensor.pieces.push_back({piece.begin(), piece.count(), from_record(piece.chunk()), piece.offset_in_chunk()});
  int64_t bytes = size_bytes(tensor.dtype);
  for (int64_t dim : tensor.shape)
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes))
      return Status(Code::kCorruption, "tensor " + tensor.name + " has impossible shape " + to_string(tensor.shape));
  return tensor;
}

void to_record(const Manifest& manifest, v1::ManifestHeaderRecord* record) {
  record->set_version(kManifestVersion);
  record->set_job(manifest.job);
  record->set_stage(manifest.stage);
  record->set_step(manifest.step);
  record->set_attempt(manifest.attempt);
  record->set_created_unix_ms(manifest.created_unix_ms);
  record->set_parent(manifest.parent);
  record->set_sampler_position(manifest.sampler_position);
  record->set_seed(manifest.seed);
  record->set_recipe_json(manifest.recipe_json);
  for (const auto& [key, value] : manifest.handover) {
    v1::TextEntryRecord* entry = record->add_handover();
    entry->set_key(key);
    entry->set_value(value);
  }
  for (const auto& [key, value] : manifest.metrics) {
    v1::MetricEntryRecord* entry = record->add_metrics();
    entry->set_key(key);
    entry->set_value(value);
  }
  record->set_build(manifest.build);
  record->set_stage_complete(manifest.stage_complete);
  to_record(manifest.content_hash, record->mutable_content_hash());
  record->set_logical_bytes(manifest.logical_bytes);
  record->set_new_bytes(manifest.new_bytes);
  record->set_commit_sequence(manifest.commit_sequence);
}

Result<Manifest> from_record(const v1::ManifestHeaderRecord& record) {
  if (record.version() > kManifestVersion)
    return Status(Code::kUnsupported, "the checkpoint's manifest has version " + std::to_string(record.version()) +
                                          " and this build reads up to " + std::to_string(kManifestVersion) +
                                          "; use a newer build");
  if (record.version() == 0) return Status(Code::kCorruption, "the manifest has no version");
  if (record.version() < kManifestVersion)
    return Status(Code::kUnsupported, "the checkpoint's manifest has version " + std::to_string(record.version()) +
                                          ", which no release has written; this build reads version " +
                                          std::to_string(kManifestVersion));
  Manifest manifest;
  manifest.job = record.job();
  manifest.stage = record.stage();
  manifest.step = record.step();
  manifest.attempt = record.attempt();
  manifest.created_unix_ms = record.created_unix_ms();
  manifest.parent = record.parent();
  manifest.sampler_position = record.sampler_position();
  manifest.seed = record.seed();
  manifest.recipe_json = record.recipe_json();
  for (const auto& entry : record.handover()) manifest.handover.emplace(entry.key(), entry.value());
  for (const auto& entry : record.metrics()) manifest.metrics.emplace(entry.key(), entry.value());
  manifest.build = record.build();
  manifest.stage_complete = record.stage_complete();
  manifest.content_hash = from_record(record.content_hash());
  manifest.logical_bytes = record.logical_bytes();
  manifest.new_bytes = record.new_bytes();
  manifest.commit_sequence = record.commit_sequence();
  return manifest;
}

void to_record(const PackSummary& summary, v1::PackSummaryMessage* record) {
  record->set_pack(summary.pack);
  record->set_size_bytes(summary.size_bytes);
  for (const auto& [chunk, offset] : summary.chunks) {
    auto* out = record->add_chunks();
    to_record(chunk, out->mutable_chunk());
    out->set_offset(offset);
  }
}

Result<PackSummary> from_record(const v1::PackSummaryMessage& record) {
  TEPHRA_RETURN_IF_ERROR(check_pack_name(record.pack()));
  PackSummary summary{record.pack(), record.size_bytes(), {}};
  summary.chunks.reserve(record.chunks_size());
  for (const auto& entry : record.chunks()) {
    ChunkRef chunk = from_record(entry.chunk());
    if (chunk.length == 0 || chunk.length > kChunkBytesMax || entry.offset() > summary.size_bytes ||
        chunk.length > summary.size_bytes - entry.offset())
      return Status(Code::kCorruption, "pack " + summary.pack + " lists a chunk outside of itself");
    summary.chunks.emplace_back(chunk, entry.offset());
  }
  return summary;
}

}  // namespace tephra::storage
