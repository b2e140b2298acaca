// The safetensors container (8-byte little-endian header length, JSON header, tensor bytes), read through a mapping and
// written as a stream. Reading trusts nothing: every offset, size, type and name is checked before a byte is handed
// out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "base/tensor_source.h"

namespace tephra::model {

// One mapped file. Immutable after open(); safe from any thread. The file must not be cut while it is open.
class SafetensorsFile {
 public:
  // kNotFound; kCorruption, naming file and tensor: truncated file, header that is no JSON object, unknown dtype, bytes
  // that do not match the shape, ranges that overlap, leave a hole or end past the file, a name that occurs twice.
  static Result<std::unique_ptr<SafetensorsFile>> open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // sorted by name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // The tensor's bytes in the mapping, little-endian, row-major, any alignment; valid while this object lives.
  // kNotFound.
  Result<std::span<const std::byte>> bytes(const std::string& name) const;

 private:
  SafetensorsFile() = default;
  Status parse();

  std::string path_;
  const std::byte* data_ = nullptr;
  uint64_t size_bytes_ = 0;
  std::vector<TensorInfo> tensors_;
  std::vector<std::span<const std::byte>> ranges_;  // parallel to tensors_
  std::map<std::string, std::string> metadata_;
};

// Fills `out` with elements [begin, begin + count) of the tensor, in the dtype that the TensorInfo given to the writer
// names.
using TensorBytes = std::function<Status(const TensorInfo& tensor, int64_t begin, int64_t count, std::byte* out)>;

// Writes one file: streamed in pieces of at most 8 MiB, synced, and renamed into place, so `path` is whole or as it
// was.
Status write_safetensors(Env& env, const std::string& path, const std::vector<TensorInfo>& tensors,
                         const std::map<std::string, std::string>& metadata, const TensorBytes& bytes);

// Writes `directory`/model.safetensors when all fits in max_shard_bytes, else model-0000i-of-0000n.safetensors, filled
// in the given order, and model.safetensors.index.json last, as Hugging Face names them. A tensor larger than the bound
// has its own file. Returns the names of the files written.
Result<std::vector<std::string>> write_sharded_safetensors(Env& env, const std::string& directory,
                                                           const std::vector<TensorInfo>& tensors,
                                                           int64_t max_shard_bytes,
                                                           const std::map<std::string, std::string>& metadata,
                                                           const TensorBytes& bytes);

}  // namespace tephra::model
