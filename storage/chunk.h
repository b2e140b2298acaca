// The unit of storage: a chunk of a tensor's bytes, addressed by what it holds; and the blocks by which it is hashed.
// Format: docs/store-format.md.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"

namespace tephra::storage {

// The largest chunk. Writers cut tensors at multiples of it, counted from the tensor's first byte, so that equal
// tensors have equal chunks whoever wrote them.
inline constexpr uint64_t kChunkBytesMax = 4u << 20;

// Bytes are hashed by blocks of this size; the last of a chunk or tensor may be shorter. Small enough that a part of a
// chunk can be compared by itself, and that the blocks which two ranks share are little to read back.
inline constexpr uint64_t kBlockBytes = 64u << 10;
constexpr uint64_t block_count(uint64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes; }

// The address of a chunk's bytes, and their checksum: the hash of its only block, or of its blocks' hashes.
struct ChunkRef {
  Hash128 hash;
  uint64_t length = 0;  // bytes
  auto operator<=>(const ChunkRef&) const = default;
};
std::vector<Hash128> hash_blocks(std::span<const std::byte> bytes);
ChunkRef chunk_of_blocks(std::span<const Hash128> blocks, uint64_t length);
ChunkRef chunk_of(std::span<const std::byte> bytes);

// As 24 bytes, big-endian: hash high, hash low, length. The index's key of the chunk; sorts as the chunks do.
std::string chunk_key(const ChunkRef& chunk);

}  // namespace tephra::storage
