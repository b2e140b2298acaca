// Reads a checkpoint's tensors by ranges, from its packs, without the index: what a rank does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/tensor_source.h"
#include "storage/manifest.h"
#include "storage/pack.h"

namespace tephra::storage {

// As a TensorSource it shows the parameters; the optimizer's moments are read with read_state_float32.
// Every block is compared with its hash when it is read. Those that a range covers go straight to the caller's memory; of
// the others a few are kept, with open packs, so that sequential ranges read each block once. Memory: at most
// kCachedBlocks * kBlockBytes, one block per reading thread, and the open packs' footers. Any thread.
class CheckpointReader : public TensorSource {
 public:
  static constexpr size_t kCachedBlocks = 64;
  static constexpr size_t kOpenPacks = 64;

  CheckpointReader(Env& env, std::string packs_dir, LocatedManifest located);

  const Manifest& manifest() const { return located_.manifest; }

  // Parameters only, sorted by name.
  const std::vector<TensorInfo>& tensors() const override { return parameters_; }
  Status read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const override;
  Status read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const override;

  bool has_state(const std::string& name, StateKind kind) const;
  // kNotFound when the checkpoint has no such tensor, kInvalidArgument for a range outside it, kCorruption when bytes
  // fail their checksum; the message names tensor, chunk and pack.
  Status read_state_float32(const std::string& name, StateKind kind, int64_t begin, int64_t count, float* out) const;
  Status read_state_bytes(const std::string& name, StateKind kind, int64_t begin, int64_t count, std::byte* out) const;
  // From the hashes of the tensor's blocks (ContentHasher), as the packs' footers have them. Only a block that lies in
  // several chunks is read. Errors as above.
  Result<Hash128> content_of(const ManifestTensor& tensor) const;
  // Fills `out` with a chunk's bytes from `begin` on.
  Status read_chunk(const ChunkRef& chunk, uint64_t begin, std::span<std::byte> out) const;

 private:
  using Bytes =
      std::shared_ptr<const std::vector<std::byte>>;  // shared by the cache and the readers that copy out of it

  Result<const ManifestTensor*> tensor_for(const std::string& name, StateKind kind, int64_t begin, int64_t count) const;
  Status read_range(const ManifestTensor& tensor, int64_t begin, int64_t count, std::byte* out) const;
  struct Found {
    std::shared_ptr<const PackReader> pack;
    uint64_t offset = 0;
  };
  Result<Found> place(const ChunkRef& ref) const;
  Result<Bytes> block(const ChunkRef& ref, uint64_t begin) const;
  Result<std::shared_ptr<const PackReader>> pack(const std::string& name) const;

  Env& env_;
  const std::string packs_dir_;
  const LocatedManifest located_;
  std::vector<TensorInfo> parameters_;
  struct CachedBlock {
    ChunkRef chunk;
    uint64_t begin;
    Bytes bytes;
  };
  mutable std::mutex mutex_;               // guards the two caches; not held during I/O
  mutable std::list<CachedBlock> blocks_;  // most recent first
  mutable std::map<std::string, std::shared_ptr<const PackReader>> packs_;
};

}  // namespace tephra::storage
