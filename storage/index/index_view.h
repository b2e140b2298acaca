// What of the index is reached from a checkpoint: gc's and stat's walk over all of it. Not for other folders.
#pragma once

#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "storage/index/database.h"
#include "storage/index/index_codec.h"

namespace tephra::storage {

struct ChunkRefHash {
  size_t operator()(const ChunkRef& chunk) const { return chunk.hash.low ^ chunk.length; }
};
using ChunkSet = std::unordered_set<ChunkRef, ChunkRefHash>;

struct LiveChunk {
  ChunkRef chunk;
  uint64_t offset = 0;
};

// kCorruption: a tensor table cannot be read, so that anything might be reached.
Result<ChunkSet> reachable_chunks(const Database& db);

struct IndexView {
  std::map<std::string, std::vector<LiveChunk>> reached;       // packs with a reachable chunk, and those
  std::map<std::string, std::vector<std::string>> chunk_keys;  // of the chunks that nothing reaches, by pack
  std::map<std::string, PackInfo> packs;
};
Result<IndexView> view_index(const Database& db);

}  // namespace tephra::storage
