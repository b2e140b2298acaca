#include <map>

#include "storage/manifest.h"
#include "storage/record_codec.h"

namespace tephra::storage {
namespace {

template <typename Message>
Status parse(std::string_view bytes, const char* what, Message* message) {
  if (bytes.size() > (1u << 30)) return {Code::kCorruption, std::string(what) + " is larger than 1 GiB"};
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return {Code::kCorruption, std::string(what) + " does not parse"};
  return ok_status();
}

template <typename Records>
Result<std::vector<ManifestTensor>> tensors_from(const Records& records) {
  std::vector<ManifestTensor> tensors;
  tensors.reserve(records.size());
  for (const v1::TensorRecord& record : records) {
    TEPHRA_ASSIGN_OR_RETURN(ManifestTensor tensor, from_record(record));
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace

std::string encode_manifest_header(const Manifest& manifest) {
  v1::ManifestHeaderRecord record;
  to_record(manifest, &record);
  return record.SerializeAsString();
}

Result<Manifest> decode_manifest_header(std::string_view bytes) {
  v1::ManifestHeaderRecord record;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, "a manifest header", &record));
  return from_record(record);
}

std::string encode_manifest_tensors(const std::vector<ManifestTensor>& tensors) {
  v1::TensorTableRecord record;
  for (const ManifestTensor& tensor : tensors) to_record(tensor, record.add_tensors());
  return record.SerializeAsString();
}

Result<std::vector<ManifestTensor>> decode_manifest_tensors(std::string_view bytes) {
  v1::TensorTableRecord record;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, "a tensor table", &record));
  TEPHRA_ASSIGN_OR_RETURN(auto tensors, tensors_from(record.tensors()));
  for (const ManifestTensor& tensor : tensors)
    if (Status status = validate_tensor(tensor); !status.ok()) return Status(Code::kCorruption, status.message());
  return tensors;
}

std::string encode(const LocatedManifest& located) {
  v1::LocatedManifestMessage message;
  to_record(located.manifest, message.mutable_header());
  for (const ManifestTensor& tensor : located.manifest.tensors) to_record(tensor, message.add_tensors());
  std::map<std::string, uint32_t>
      packs;  // names once: a large checkpoint has tens of thousands of chunks in a few packs
  for (const auto& [chunk, location] : located.chunks) {
    auto [it, added] = packs.emplace(location.pack, static_cast<uint32_t>(packs.size()));
    if (added) message.add_packs(location.pack);
    auto* out = message.add_chunks();
    to_record(chunk, out->mutable_chunk());
    out->set_pack(it->second);
    out->set_offset(location.offset);
  }
  return message.SerializeAsString();
}

Result<LocatedManifest> decode_located_manifest(std::string_view bytes) {
  v1::LocatedManifestMessage message;
  TEPHRA_RETURN_IF_ERROR(parse(bytes, "a located manifest", &message));
  LocatedManifest located;
  TEPHRA_ASSIGN_OR_RETURN(located.manifest, from_record(message.header()));
  TEPHRA_ASSIGN_OR_RETURN(located.manifest.tensors, tensors_from(message.tensors()));
  if (Status status = validate(located.manifest); !status.ok()) return Status(Code::kCorruption, status.message());
  for (const std::string& pack : message.packs())
    if (pack.empty() || pack.front() == '.' || pack.find('/') != std::string::npos)
      return Status(Code::kCorruption, "impossible pack name '" + pack + "' in a located manifest");
  for (const auto& entry : message.chunks()) {
    if (entry.pack() >= static_cast<uint32_t>(message.packs_size()))
      return Status(Code::kCorruption, "a located manifest names a pack that it does not list");
    ChunkRef chunk = from_record(entry.chunk());
    if (!located.chunks.empty() && !(located.chunks.back().first < chunk))
      return Status(Code::kCorruption, "the chunks of a located manifest are not in order");
    located.chunks.push_back({chunk, {message.packs(static_cast<int>(entry.pack())), entry.offset()}});
  }
  return located;
}

}  // namespace tephra::storage
