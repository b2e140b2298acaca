#include "storage/index/index_codec.h"

#include <cstdio>

#include "storage/records.pb.h"

namespace tephra::storage {
namespace {

uint64_t read_big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (unsigned char c : bytes.substr(0, 8)) value = value << 8 | c;
  return value;
}

template <typename Record>
Status parse(std::string_view bytes, const char* what, Record* record) {
  if (!record->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return {Code::kCorruption, std::string("the index holds a ") + what + " that does not parse"};
  return ok_status();
}

}  // namespace

Result<CheckpointId> parse_checkpoint_id(const std::string& name) {
  auto bad = [&] {
    return Status(Code::kInvalidArgument, "'" + name + "' is not a checkpoint's name; it is JOB/STAGE@STEP");
  };
  size_t slash = name.find('/'), at = name.rfind('@');
  if (slash == std::string::npos || at == std::string::npos || at < slash) return bad();
  CheckpointId id{name.substr(0, slash), name.substr(slash + 1, at - slash - 1), 0};
  std::string digits = name.substr(at + 1);
  if (!check_name("job", id.job).ok() || !check_name("stage", id.stage).ok() || digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return bad();
  id.step = std::stoll(digits);
  return id;
}

CheckpointId id_of(const Manifest& manifest) { return {manifest.job, manifest.stage, manifest.step}; }

std::string stage_key(const std::string& job, const std::string& stage) { return "h/" + job + "/" + stage + "@"; }

namespace {
std::string step_digits(int64_t step) {
  char text[24];
  std::snprintf(text, sizeof text, "%020ld", static_cast<long>(step));
  return text;
}
}  // namespace

std::string header_key(const CheckpointId& id) { return stage_key(id.job, id.stage) + step_digits(id.step); }

std::string tensors_key(const CheckpointId& id) {
  std::string key = header_key(id);
  key[0] = 't';
  return key;
}

Result<CheckpointId> parse_header_key(std::string_view key) {
  std::string text(key.substr(std::min<size_t>(2, key.size())));
  size_t at = text.rfind('@');
  size_t digit = at == std::string::npos ? at : text.find_first_not_of('0', at + 1);
  if (at == std::string::npos) return Status(Code::kCorruption, "the index holds an impossible checkpoint key");
  std::string step = digit == std::string::npos ? "0" : text.substr(digit);
  return parse_checkpoint_id(text.substr(0, at + 1) + step);
}

Result<ChunkRef> parse_chunk_key(std::string_view key) {
  if (key.size() != 24)
    return Status(Code::kCorruption, "the index holds a chunk key of " + std::to_string(key.size()) + " bytes");
  return ChunkRef{{read_big_endian(key), read_big_endian(key.substr(8))}, read_big_endian(key.substr(16))};
}

std::string pack_key(const std::string& pack) { return "pack/" + pack; }
std::string import_key(const std::string& key) { return "import/" + hash_text(key).hex(); }

std::string encode(const PackInfo& info) {
  v1::PackRecord record;
  record.set_size_bytes(info.size_bytes);
  record.set_chunk_count(info.chunk_count);
  record.set_committed_unix_ms(info.committed_unix_ms);
  return record.SerializeAsString();
}

Result<PackInfo> decode_pack_info(std::string_view bytes) {
  v1::PackRecord record;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, "pack record", &record));
  return PackInfo{record.size_bytes(), record.chunk_count(), record.committed_unix_ms()};
}

std::string encode(const ChunkLocation& location) {
  v1::ChunkLocationRecord record;
  record.set_pack(location.pack);
  record.set_offset(location.offset);
  return record.SerializeAsString();
}

Result<ChunkLocation> decode_chunk_location(std::string_view bytes) {
  v1::ChunkLocationRecord record;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, "chunk record", &record));
  if (record.pack().empty()) return Status(Code::kCorruption, "the index holds a chunk record without a pack");
  return ChunkLocation{record.pack(), record.offset()};
}

std::string encode(const Lease& lease) {
  v1::LeaseRecord record;
  record.set_holder(lease.holder);
  for (const std::string& name : lease.checkpoints) record.add_checkpoints(name);
  return record.SerializeAsString();
}

Result<Lease> decode_lease(std::string_view prefix, std::string_view bytes) {
  v1::LeaseRecord record;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, "lease", &record));
  return Lease{std::string(prefix), record.holder(), {record.checkpoints().begin(), record.checkpoints().end()}};
}

}  // namespace tephra::storage
