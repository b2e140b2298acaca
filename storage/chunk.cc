#include "storage/chunk.h"

#include <algorithm>
#include <bit>

namespace tephra::storage {

static_assert(std::endian::native == std::endian::little && sizeof(Hash128) == 16,
              "blocks' hashes are hashed and stored as they lie in memory");

std::vector<Hash128> hash_blocks(std::span<const std::byte> bytes) {
  std::vector<Hash128> blocks;
  blocks.reserve(block_count(bytes.size()));
  for (; !bytes.empty(); bytes = bytes.subspan(std::min<size_t>(kBlockBytes, bytes.size())))
    blocks.push_back(hash_bytes(bytes.first(std::min<size_t>(kBlockBytes, bytes.size()))));
  return blocks;
}

ChunkRef chunk_of_blocks(std::span<const Hash128> blocks, uint64_t length) {
  return {blocks.size() == 1 ? blocks.front() : hash_bytes(std::as_bytes(blocks)), length};
}

ChunkRef chunk_of(std::span<const std::byte> bytes) { return chunk_of_blocks(hash_blocks(bytes), bytes.size()); }

std::string chunk_key(const ChunkRef& chunk) {
  std::string key;
  key.reserve(24);
  for (const uint64_t part : {chunk.hash.high, chunk.hash.low, chunk.length})
    for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(part >> shift));
  return key;
}

}  // namespace tephra::storage
