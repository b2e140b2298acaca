// Removing what nothing reaches, and counting what is there.
#include <algorithm>
#include <unordered_set>

#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

struct ChunkRefHash {
  size_t operator()(const ChunkRef& chunk) const { return chunk.hash.low ^ chunk.length; }
};
using ChunkSet = std::unordered_set<ChunkRef, ChunkRefHash>;

bool has_any_prefix(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return name.starts_with(prefix); });
}

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

struct IndexView {
  std::set<std::string> reached;                               // packs with a reachable chunk
  std::map<std::string, std::vector<std::string>> chunk_keys;  // of the chunks that nothing reaches, by pack
  std::map<std::string, PackInfo> packs;
};

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
      view.reached.insert(location->pack);
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

// "NAME.pack" or "NAME.partial" without the suffix; empty for files that are not ours.
std::string pack_of_file(const std::string& file) {
  for (std::string_view suffix : {".pack", ".partial"})
    if (file.ends_with(suffix)) return file.substr(0, file.size() - suffix.size());
  return "";
}

uint64_t size_of(Env& env, const std::string& path) {
  auto file = env.open(path);
  return file.ok() ? (*file)->size_bytes() : 0;
}

struct Garbage {
  std::vector<Put> erases;  // from the index
  GcReport report;
};

void collect_known(const IndexView& view, const std::vector<std::string>& leased, Garbage* garbage) {
  for (const auto& [pack, info] : view.packs) {
    if (view.reached.contains(pack)) continue;
    if (has_any_prefix(pack, leased)) {
      garbage->report.kept_for_writers.push_back(pack + ".pack");
      continue;
    }
    garbage->report.packs.push_back(pack + ".pack");
    garbage->report.bytes += info.size_bytes;
    garbage->erases.push_back({ColumnFamily::kMeta, pack_key(pack), "", true});
    if (auto it = view.chunk_keys.find(pack); it != view.chunk_keys.end())
      for (const std::string& key : it->second) garbage->erases.push_back({ColumnFamily::kChunks, key, "", true});
  }
}

}  // namespace

Result<GcReport> Store::gc(bool dry_run) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  std::lock_guard lock(impl_->mutex);
  TEPHRA_ASSIGN_OR_RETURN(IndexView view, view_index(*impl_->db));
  TEPHRA_ASSIGN_OR_RETURN(auto leases, impl_->leases());
  std::vector<std::string> leased;
  for (const Lease& lease : leases) leased.push_back(lease.pack_prefix);
  const std::vector<std::string> released(impl_->released_prefixes.begin(), impl_->released_prefixes.end());

  Garbage garbage;
  garbage.report.dry_run = dry_run;
  collect_known(view, leased, &garbage);
  TEPHRA_ASSIGN_OR_RETURN(auto files, impl_->env.list(impl_->packs_dir()));
  for (const std::string& file : files) {
    std::string pack = pack_of_file(file);
    if (pack.empty() || (file.ends_with(".pack") && view.packs.contains(pack))) continue;
    bool abandoned = impl_->collectable.contains(file) || has_any_prefix(pack, released);
    if (has_any_prefix(pack, leased) || !abandoned) {
      garbage.report.kept_for_writers.push_back(file);
      continue;
    }
    garbage.report.packs.push_back(file);
    garbage.report.bytes += size_of(impl_->env, impl_->packs_dir() + "/" + file);
  }
  TEPHRA_ASSIGN_OR_RETURN(const auto manifests, impl_->unknown_manifest_files());
  for (const ManifestFile& file : manifests) garbage.report.manifests.push_back(file.file);
  if (dry_run) return garbage.report;

  for (const std::string& file : garbage.report.manifests)
    TEPHRA_RETURN_IF_ERROR(impl_->env.remove(impl_->manifests_dir() + "/" + file));
  if (!manifests.empty()) TEPHRA_RETURN_IF_ERROR(impl_->env.sync_directory(impl_->manifests_dir()));
  if (garbage.report.packs.empty()) return garbage.report;

  // Index first: a crash in between leaves files that nothing names, which the next gc after a restart removes. The
  // other order could leave an index that names missing files.
  TEPHRA_RETURN_IF_ERROR(impl_->db->write(garbage.erases, true));
  for (const std::string& file : garbage.report.packs) {
    impl_->collectable.insert(file);  // should the removal fail, the next gc tries again
    Status status = impl_->env.remove(impl_->packs_dir() + "/" + file);
    if (!status.ok() && status.code() != Code::kNotFound) return status;
    impl_->collectable.erase(file);
  }
  TEPHRA_RETURN_IF_ERROR(impl_->env.sync_directory(impl_->packs_dir()));
  return garbage.report;
}

Result<StoreStat> Store::stat() const {
  StoreStat stat;
  TEPHRA_ASSIGN_OR_RETURN(auto checkpoints, list());
  stat.checkpoint_count = static_cast<int64_t>(checkpoints.size());
  for (const CheckpointInfo& info : checkpoints) stat.logical_bytes += info.header.logical_bytes;
  TEPHRA_RETURN_IF_ERROR(impl_->db->scan(ColumnFamily::kChunks, "", [&](std::string_view, std::string_view) {
    ++stat.chunk_count;
    return true;
  }));
  Status bad;
  TEPHRA_RETURN_IF_ERROR(impl_->db->scan(ColumnFamily::kMeta, "pack/", [&](std::string_view, std::string_view value) {
    auto info = decode_pack_info(value);
    if (!info.ok()) bad = info.status();
    if (!bad.ok()) return false;
    ++stat.pack_count;
    stat.physical_bytes += info->size_bytes;
    return true;
  }));
  TEPHRA_RETURN_IF_ERROR(bad);
  return stat;
}

}  // namespace tephra::storage
