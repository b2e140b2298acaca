#include "storage/manifest_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "storage/record_codec.h"

namespace tephra::storage {
namespace {

// docs/store-format.md, "Manifest file". All integers little-endian.
static_assert(std::endian::native == std::endian::little, "manifest files are written with plain stores");
constexpr uint32_t kVersion = 1;
constexpr char kMagic[9] = "TEPHRAMF";
constexpr std::string_view kSuffix = ".manifest";

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t reserved;  // zero
  uint64_t payload_bytes;
};
static_assert(sizeof(Header) == 24);
struct Trailer {
  uint64_t checksum_high, checksum_low;  // XXH3-128 of header and payload
};

Hash128 checksum(const Header& header, std::string_view payload) {
  Hasher hasher;
  hasher.update(std::as_bytes(std::span(&header, 1)));
  hasher.update(payload);
  return hasher.digest();
}

template <typename T>
void append(const T& value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// "JOB+STAGE@STEP+cSEQUENCE.manifest", or nothing.
bool parse_name(const std::string& file, ManifestFile* out) {
  if (!file.ends_with(kSuffix)) return false;
  const std::string stem = file.substr(0, file.size() - kSuffix.size());
  const size_t plus = stem.find('+'), mark = stem.rfind("+c");
  if (plus == std::string::npos || mark == std::string::npos || mark <= plus) return false;
  const std::string digits = stem.substr(mark + 2);
  if (digits.empty() || digits.size() > 19 || digits.find_first_not_of("0123456789") != std::string::npos) return false;
  *out = {file, stem.substr(0, plus) + "/" + stem.substr(plus + 1, mark - plus - 1), std::stoull(digits)};
  return true;
}

}  // namespace

std::string manifest_file_name(const Manifest& manifest) {
  return manifest.job + "+" + manifest.stage + "@" + std::to_string(manifest.step) + "+c" +
         std::to_string(manifest.commit_sequence) + std::string(kSuffix);
}

Result<std::vector<std::string>> list_abandoned_files(Env& env, const std::string& dir) {
  std::vector<std::string> found;
  if (!env.exists(dir)) return found;
  TEPHRA_ASSIGN_OR_RETURN(const auto names, env.list(dir));
  for (const std::string& name : names)
    if (name.find(std::string(kSuffix) + ".tmp.") != std::string::npos) found.push_back(name);
  return found;
}

Result<std::vector<ManifestFile>> list_manifest_files(Env& env, const std::string& dir) {
  std::vector<ManifestFile> found;
  if (!env.exists(dir)) return found;
  TEPHRA_ASSIGN_OR_RETURN(const auto names, env.list(dir));
  for (const std::string& name : names)
    if (ManifestFile file; parse_name(name, &file)) found.push_back(std::move(file));
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return found;
}

Status write_manifest_file(Env& env, const std::string& dir, const Manifest& manifest) {
  const std::string name = manifest_file_name(manifest);
  if (name.size() > 240)
    return {Code::kInvalidArgument, "the names of job and stage are together too long for a file: " + name};
  v1::ManifestFileRecord record;
  to_record(manifest, record.mutable_header());
  for (const ManifestTensor& tensor : manifest.tensors) to_record(tensor, record.add_tensors());
  const std::string payload = record.SerializeAsString();
  Header header{};
  std::memcpy(header.magic, kMagic, 8);
  header.version = kVersion;
  header.payload_bytes = payload.size();
  const Hash128 sum = checksum(header, payload);
  std::string bytes;
  bytes.reserve(sizeof(Header) + payload.size() + sizeof(Trailer));
  append(header, &bytes);
  bytes += payload;
  append(Trailer{sum.high, sum.low}, &bytes);
  return write_file_atomic(env, dir + "/" + name, bytes);
}

Result<Manifest> read_manifest_file(Env& env, const std::string& dir, const std::string& file) {
  const std::string path = dir + "/" + file;
  TEPHRA_ASSIGN_OR_RETURN(const std::string bytes, read_file(env, path));
  const auto corrupt = [&](const std::string& what) {
    return Status(Code::kCorruption, "manifest file " + path + ": " + what);
  };
  Header header;
  Trailer trailer;
  if (bytes.size() < sizeof header + sizeof trailer) return corrupt("shorter than an empty one");
  std::memcpy(&header, bytes.data(), sizeof header);
  std::memcpy(&trailer, bytes.data() + bytes.size() - sizeof trailer, sizeof trailer);
  if (std::memcmp(header.magic, kMagic, 8) != 0) return corrupt("does not start with TEPHRAMF");
  if (header.version != kVersion)
    return Status(Code::kUnsupported, "manifest file " + path + " has version " + std::to_string(header.version) +
                                          " and this build reads version " + std::to_string(kVersion));
  if (header.payload_bytes != bytes.size() - sizeof header - sizeof trailer)
    return corrupt("is " + std::to_string(bytes.size()) + " bytes long and was written with " +
                   std::to_string(header.payload_bytes) + " of content");
  const std::string_view payload = std::string_view(bytes).substr(sizeof header, header.payload_bytes);
  if (checksum(header, payload) != Hash128{trailer.checksum_high, trailer.checksum_low})
    return corrupt("fails its checksum");
  v1::ManifestFileRecord record;
  if (!record.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return corrupt("does not parse");
  TEPHRA_ASSIGN_OR_RETURN(Manifest manifest, from_record(record.header()));
  manifest.tensors.reserve(record.tensors_size());
  for (const v1::TensorRecord& tensor : record.tensors()) {
    TEPHRA_ASSIGN_OR_RETURN(ManifestTensor read, from_record(tensor));
    manifest.tensors.push_back(std::move(read));
  }
  if (Status status = validate(manifest); !status.ok()) return corrupt(status.message());
  if (content_hash_of(manifest.tensors) != manifest.content_hash)
    return corrupt("its tensors do not hash to its content_hash");
  if (manifest_file_name(manifest) != file) return corrupt("holds " + manifest_file_name(manifest));
  return manifest;
}

}  // namespace tephra::storage
