// Plain values to and from their protobuf records; shared by the codecs of this folder. Decoders trust nothing.
#pragma once

#include "storage/manifest.h"
#include "storage/pack.h"
#include "storage/records.pb.h"

namespace tephra::storage {

void to_record(const ChunkRef& chunk, v1::ChunkRefRecord* record);
ChunkRef from_record(const v1::ChunkRefRecord& record);

void to_record(const ManifestTensor& tensor, v1::TensorRecord* record);
// Checks dtype, kind and shape; whether the pieces cover the tensor is the caller's question (a shard's do not).
Result<ManifestTensor> from_record(const v1::TensorRecord& record);

void to_record(const Manifest& manifest, v1::ManifestHeaderRecord* record);  // without tensors
Result<Manifest> from_record(const v1::ManifestHeaderRecord& record);

void to_record(const PackSummary& summary, v1::PackSummaryMessage* record);
Result<PackSummary> from_record(const v1::PackSummaryMessage& record);

}  // namespace tephra::storage
