// Removing what nothing reaches, and counting what is there.
#include <algorithm>
#include <utility>

#include "storage/index/index_view.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

bool has_any_prefix(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const std::string& prefix) { return name.starts_with(prefix); });
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

// Also those of a running attempt: what it has committed it does not need any more, unless a checkpoint does.
void collect_known(const IndexView& view, Garbage* garbage) {
  for (const auto& [pack, info] : view.packs) {
    if (view.reached.contains(pack)) continue;
    const std::string file = pack + ".pack";
    garbage->report.packs.push_back(file);
    gives(file, info.size_bytes, &garbage->report);
    garbage->erases.push_back({ColumnFamily::kMeta, pack_key(pack), "", true});
    if (auto it = view.chunk_keys.find(pack); it != view.chunk_keys.end())
      for (const std::string& key : it->second) garbage->erases.push_back({ColumnFamily::kChunks, key, "", true});
  }
}

}  // namespace

void gives(const std::string& file, uint64_t bytes, GcReport* report) {
  report->by_pack[file] += bytes;
  report->bytes += bytes;
}

// The first half of gc: what nothing reaches.
Status Store::Impl::collect(bool dry_run, IndexView* view, GcReport* report) {
  std::lock_guard lock(mutex);
  TEPHRA_ASSIGN_OR_RETURN(*view, view_index(*db));
  TEPHRA_ASSIGN_OR_RETURN(auto leases, this->leases());
  std::vector<std::string> leased;
  for (const Lease& lease : leases) leased.push_back(lease.pack_prefix);
  const std::vector<std::string> released(released_prefixes.begin(), released_prefixes.end());

  Garbage garbage;
  garbage.report.dry_run = dry_run;
  collect_known(*view, &garbage);
  TEPHRA_ASSIGN_OR_RETURN(auto files, env.list(packs_dir()));
  for (const std::string& file : files) {
    std::string pack = pack_of_file(file);
    if (pack.empty() || (file.ends_with(".pack") && view->packs.contains(pack))) continue;
    bool abandoned = collectable.contains(file) || has_any_prefix(pack, released);
    if (has_any_prefix(pack, leased) || !abandoned) {
      garbage.report.kept_for_writers.push_back(file);
      continue;
    }
    garbage.report.packs.push_back(file);
    gives(file, size_of(env, packs_dir() + "/" + file), &garbage.report);
  }
  TEPHRA_ASSIGN_OR_RETURN(const auto manifests, unknown_manifest_files());
  for (const ManifestFile& file : manifests) garbage.report.manifests.push_back(file.file);
  TEPHRA_ASSIGN_OR_RETURN(const auto abandoned, list_abandoned_files(env, manifests_dir()));
  garbage.report.manifests.insert(garbage.report.manifests.end(), abandoned.begin(), abandoned.end());
  *report = std::move(garbage.report);
  if (dry_run) return ok_status();

  for (const std::string& file : report->manifests) TEPHRA_RETURN_IF_ERROR(env.remove(manifests_dir() + "/" + file));
  if (!report->manifests.empty()) TEPHRA_RETURN_IF_ERROR(env.sync_directory(manifests_dir()));
  if (report->packs.empty()) return ok_status();
  // Index first: a crash in between leaves files that nothing names, which the next gc after a restart removes. The
  // other order could leave an index that names missing files.
  TEPHRA_RETURN_IF_ERROR(db->write(garbage.erases, true));
  for (const std::string& file : report->packs) TEPHRA_RETURN_IF_ERROR(remove_pack_file(file));
  return env.sync_directory(packs_dir());
}

Status Store::Impl::remove_pack_file(const std::string& file) {
  collectable.insert(file);  // should the removal fail, the next gc tries again
  Status status = env.remove(packs_dir() + "/" + file);
  if (!status.ok() && status.code() != Code::kNotFound) return status;
  collectable.erase(file);
  return ok_status();
}

Result<GcReport> Store::gc(bool dry_run, double rewrite_below) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  GcReport report;
  IndexView view;
  TEPHRA_RETURN_IF_ERROR(impl_->collect(dry_run, &view, &report));
  TEPHRA_RETURN_IF_ERROR(rewrite_packs(*impl_, std::move(view), rewrite_below, &report));
  return report;
}

Result<StoreStat> Store::stat() const {
  StoreStat stat;
  TEPHRA_ASSIGN_OR_RETURN(auto checkpoints, list());
  stat.checkpoint_count = static_cast<int64_t>(checkpoints.size());
  for (const CheckpointInfo& info : checkpoints) stat.logical_bytes += info.header.logical_bytes;
  TEPHRA_ASSIGN_OR_RETURN(const ChunkSet reachable, reachable_chunks(*impl_->db));
  Status bad;
  TEPHRA_RETURN_IF_ERROR(impl_->db->scan(ColumnFamily::kChunks, "", [&](std::string_view key, std::string_view) {
    auto chunk = parse_chunk_key(key);
    if (!chunk.ok()) bad = chunk.status();
    if (!bad.ok()) return false;
    ++stat.chunk_count;
    if (!reachable.contains(*chunk)) stat.dead_bytes += chunk->length;
    return true;
  }));
  TEPHRA_RETURN_IF_ERROR(bad);
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
