#include "storage/record_codec.h"
#include "storage/tensor_writer.h"

namespace tephra::storage {

std::string encode(const PackSummary& summary) {
  v1::PackSummaryMessage message;
  to_record(summary, &message);
  return message.SerializeAsString();
}

Result<PackSummary> decode_pack_summary(std::string_view bytes) {
  v1::PackSummaryMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Status(Code::kCorruption, "a pack summary does not parse");
  return from_record(message);
}

std::string encode(const ShardSummary& summary) {
  v1::ShardSummaryMessage message;
  to_record(summary.pack, message.mutable_pack());
  for (const ManifestTensor& tensor : summary.tensors) to_record(tensor, message.add_tensors());
  return message.SerializeAsString();
}

Result<ShardSummary> decode_shard_summary(std::string_view bytes) {
  v1::ShardSummaryMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Status(Code::kCorruption, "a shard summary does not parse");
  ShardSummary summary;
  TEPHRA_ASSIGN_OR_RETURN(summary.pack, from_record(message.pack()));
  for (const v1::TensorRecord& record : message.tensors()) {
    TEPHRA_ASSIGN_OR_RETURN(ManifestTensor tensor, from_record(record));
    summary.tensors.push_back(std::move(tensor));
  }
  return summary;
}

}  // namespace tephra::storage
