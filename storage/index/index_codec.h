// Keys and small values of the index. Keys sort as their meaning does: steps by number, chunks by hash.
#pragma once

#include <string>
#include <string_view>

#include "storage/index/store.h"

namespace tephra::storage {

struct CheckpointId {
  std::string job, stage;
  int64_t step = 0;
  std::string name() const { return checkpoint_name(job, stage, step); }
};
// "JOB/STAGE@12": kInvalidArgument when it is not of that form.
Result<CheckpointId> parse_checkpoint_id(const std::string& name);
CheckpointId id_of(const Manifest& manifest);

std::string stage_key(const std::string& job, const std::string& stage);  // prefix of a stage's header keys
std::string header_key(const CheckpointId& id);
std::string tensors_key(const CheckpointId& id);
Result<CheckpointId> parse_header_key(std::string_view key);
Result<ChunkRef> parse_chunk_key(std::string_view key);
std::string pack_key(const std::string& pack);
std::string import_key(const std::string& key);
// In kMeta: how many commits the index knows of, in decimal.
inline constexpr const char* kSequenceKey = "sequence";
// In kMeta while Store::rebuild is at work: an index that has it was left half done.
inline constexpr const char* kRebuildingKey = "rebuilding";

struct PackInfo {
  uint64_t size_bytes = 0;
  uint64_t chunk_count = 0;
  int64_t committed_unix_ms = 0;
};
std::string encode(const PackInfo& info);
Result<PackInfo> decode_pack_info(std::string_view bytes);
std::string encode(const ChunkLocation& location);
Result<ChunkLocation> decode_chunk_location(std::string_view bytes);
std::string encode(const Lease& lease);
Result<Lease> decode_lease(std::string_view prefix, std::string_view bytes);

}  // namespace tephra::storage
