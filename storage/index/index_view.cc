#include "storage/index/index_view.h"

#include "storage/index/store_impl.h"

namespace tephra::storage {

Result<ChunkSet> reachable_chunks(const Database& db) {
  ChunkSet chunks;
  Status bad;
  TEPHRA_RETURN_IF_ERROR(db.scan(ColumnFamily::kCheckpoints, "t/", [&](std::string_view key, std::string_view value) {
    auto tensors = decode_manifest_tensors(value);
    // One unreadable table could reach anything, so nothing is collected.
    if (!tensors.ok()) bad = tensors.status().with_context("checkpoint record " + std::string(key));
    if (!bad.ok()) return false;
    for (const ChunkRef& chunk : chunks_of(*tensors)) chunks.insert(chunk);
    return true;
  }));
  TEPHRA_RETURN_IF_ERROR(bad);
  return chunks;
}

Result<IndexView> view_index(const Database& db) {
  IndexView view;
  TEPHRA_ASSIGN_OR_RETURN(ChunkSet reachable, reachable_chunks(db));
  Status bad;
  TEPHRA_RETURN_IF_ERROR(db.scan(ColumnFamily::kChunks, "", [&](std::string_view key, std::string_view value) {
    auto chunk = parse_chunk_key(key);
    auto location = decode_chunk_location(value);
    if (!chunk.ok()) bad = chunk.status();
    if (!location.ok()) bad = location.status();
    if (!bad.ok()) return false;
    if (reachable.contains(*chunk)) {
      view.reached[location->pack].push_back({*chunk, location->offset});
    } else {
      view.chunk_keys[location->pack].emplace_back(key);
    }
    return true;
  }));
  TEPHRA_RETURN_IF_ERROR(bad);
  TEPHRA_RETURN_IF_ERROR(db.scan(ColumnFamily::kMeta, "pack/", [&](std::string_view key, std::string_view value) {
    auto info = decode_pack_info(value);
    if (!info.ok()) bad = info.status();
    if (info.ok()) view.packs.emplace(key.substr(5), *info);
    return bad.ok();
  }));
  TEPHRA_RETURN_IF_ERROR(bad);
  return view;
}

}  // namespace tephra::storage
