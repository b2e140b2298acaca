// The index made again, or brought up to date, from what lies beside it: packs' footers and manifest files.
#include <algorithm>

#include "base/log.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

constexpr size_t kBatchPuts = 10000;

// Whether another index can stand in for one that fails to open like this.
bool is_damage(Code code) { return code == Code::kCorruption || code == Code::kIo || code == Code::kNotFound; }

// Opens the index as it is. One that is damaged, or not wanted, is put aside, never deleted.
Result<std::unique_ptr<Database>> open_index(Env& env, const std::string& dir, bool discard, RebuildReport* report) {
  const std::string index = dir + "/index";
  report->index_was_there = env.exists(index + "/CURRENT");
  auto opened = Database::open(index, OpenMode::kReadWrite);  // also: nobody else has it
  if (opened.ok() ? !discard : !is_damage(opened.status().code())) return opened;
  if (!opened.ok()) log::warning("the index cannot be opened", {{"error", opened.status().message()}});
  if (opened.ok()) opened->reset();
  for (int n = 1; report->index_moved_to.empty(); ++n)
    if (const std::string aside = index + ".aside-" + std::to_string(n); !env.exists(aside))
      report->index_moved_to = aside;
  report->index_was_there = false;
  TEPHRA_RETURN_IF_ERROR(env.rename(index, report->index_moved_to));
  TEPHRA_RETURN_IF_ERROR(env.sync_directory(dir));
  return Database::open(index, OpenMode::kReadWrite);
}

class Rebuild {
 public:
  Rebuild(Store::Impl& store, RebuildReport* report) : store_(store), report_(report) {}

  Status run() {
    TEPHRA_ASSIGN_OR_RETURN(known_, store_.sequence());
    TEPHRA_RETURN_IF_ERROR(store_.db->write({{ColumnFamily::kMeta, kRebuildingKey, "1"}}, true));
    TEPHRA_RETURN_IF_ERROR(read_packs());
    TEPHRA_RETURN_IF_ERROR(drop_removed());
    TEPHRA_RETURN_IF_ERROR(read_manifests());
    TEPHRA_RETURN_IF_ERROR(put({ColumnFamily::kMeta, kRebuildingKey, "", true}));
    return flush(true);
  }

 private:
  void leave_out(const std::string& what, const std::string& why) {
    report_->left_out.push_back({.pack = what, .message = why});
  }

  Status put(Put put) {
    puts_.push_back(std::move(put));
    return flush_some();
  }
  Status flush_some() { return puts_.size() >= kBatchPuts ? flush(false) : ok_status(); }
  Status flush(bool sync) {
    std::vector<Put> puts;
    puts.swap(puts_);
    return store_.db->write(puts, sync);
  }

  Status read_packs() {
    TEPHRA_ASSIGN_OR_RETURN(const auto files, store_.env.list(store_.packs_dir()));
    for (const std::string& file : files) {
      if (!file.ends_with(".pack")) continue;
      const std::string pack = file.substr(0, file.size() - 5);
      auto reader = PackReader::open(store_.env, store_.packs_dir(), pack);
      if (!reader.ok()) {
        leave_out(file, reader.status().message());
        continue;
      }
      TEPHRA_RETURN_IF_ERROR(note_pack((*reader)->summary()));
    }
    return ok_status();
  }

  // A chunk that the index places in a pack that is there keeps its place.
  Status note_pack(const PackSummary& pack) {
    std::vector<ChunkRef> chunks;
    for (const auto& [chunk, offset] : pack.chunks) chunks.push_back(chunk);
    TEPHRA_ASSIGN_OR_RETURN(const auto places, store_.locations(chunks));
    for (size_t i = 0; i < chunks.size(); ++i) {
      available_.insert(chunks[i]);
      if (places[i] && store_.env.exists(pack_path(store_.packs_dir(), places[i]->pack))) continue;
      ++report_->chunk_count;
      TEPHRA_RETURN_IF_ERROR(put(chunk_put(chunks[i], {pack.pack, pack.chunks[i].second})));
    }
    TEPHRA_ASSIGN_OR_RETURN(const auto known, store_.db->read(ColumnFamily::kMeta, pack_key(pack.pack)));
    if (known) return ok_status();
    ++report_->pack_count;
    return put(pack_put(pack, /*committed_unix_ms=*/0));
  }

  // What an older copy of the index still lists although it was removed, and its bytes collected, after the copy was made:
  // no manifest file, and not all of its chunks.
  Status drop_removed() {
    std::vector<Manifest> headers;
    Status bad;
    TEPHRA_RETURN_IF_ERROR(
        store_.db->scan(ColumnFamily::kCheckpoints, "h/", [&](std::string_view, std::string_view value) {
          auto header = decode_manifest_header(value);
          if (!header.ok()) bad = header.status();
          if (header.ok()) headers.push_back(std::move(*header));
          return bad.ok();
        }));
    TEPHRA_RETURN_IF_ERROR(bad);
    for (const Manifest& header : headers) {
      const std::string file = manifest_file_name(header);
      if (store_.env.exists(store_.manifests_dir() + "/" + file)) continue;
      const CheckpointId id = id_of(header);
      TEPHRA_ASSIGN_OR_RETURN(const Manifest manifest, store_.manifest(id));
      const auto chunks = chunks_of(manifest.tensors);
      if (std::all_of(chunks.begin(), chunks.end(), [&](const ChunkRef& c) { return available_.contains(c); }))
        continue;
      leave_out(file, id.name() + " was removed after this copy of the index was made");
      erase_checkpoint(id, &puts_);
      TEPHRA_RETURN_IF_ERROR(flush_some());
    }
    return ok_status();
  }

  // The newest first: of two files of one checkpoint the older belongs to a commit that did not happen.
  Status read_manifests() {
    TEPHRA_ASSIGN_OR_RETURN(auto files, list_manifest_files(store_.env, store_.manifests_dir()));
    std::reverse(files.begin(), files.end());
    for (const ManifestFile& file : files) {
      TEPHRA_ASSIGN_OR_RETURN(const CheckpointId id, parse_checkpoint_id(file.checkpoint));
      TEPHRA_ASSIGN_OR_RETURN(const auto there, store_.header(id));
      if (there || taken_.contains(file.checkpoint)) continue;
      if (file.sequence <= known_) {
        leave_out(file.file, "the index had it and it was removed");
        continue;
      }
      auto manifest = read_manifest_file(store_.env, store_.manifests_dir(), file.file);
      if (!manifest.ok()) {
        leave_out(file.file, manifest.status().message());
        continue;
      }
      TEPHRA_RETURN_IF_ERROR(take(file, *manifest));
    }
    if (!files.empty() && files.front().sequence > known_)
      return put({ColumnFamily::kMeta, kSequenceKey, std::to_string(files.front().sequence)});
    return ok_status();
  }

  Status take(const ManifestFile& file, const Manifest& manifest) {
    for (const ChunkRef& chunk : chunks_of(manifest.tensors))
      if (!available_.contains(chunk)) {
        leave_out(file.file, "chunk " + chunk.hash.hex() + " of " + file.checkpoint + " is in no pack");
        return ok_status();
      }
    taken_.insert(file.checkpoint);
    report_->checkpoints.push_back(file.checkpoint);
    put_checkpoint(manifest, &puts_);
    return flush_some();
  }

  Store::Impl& store_;
  RebuildReport* report_;
  uint64_t known_ = 0;  // commits that the index knew of
  std::vector<Put> puts_;
  std::set<ChunkRef> available_;
  std::set<std::string> taken_;
};

}  // namespace

Result<RebuildReport> Store::rebuild(Env& env, const std::string& dir, bool discard_index) {
  if (!env.exists(dir + "/packs") || !env.exists(dir + "/manifests"))
    return Status(Code::kNotFound, dir + " is not a store: it has no packs and manifests");
  RebuildReport report;
  TEPHRA_RETURN_IF_ERROR(Ownership::ask(dir));
  auto db = open_index(env, dir, discard_index, &report);
  if (!db.ok()) return db.status().with_context("rebuild " + dir);
  Impl store{env, dir, OpenMode::kReadWrite, std::move(*db), std::make_unique<Ownership>(dir, ""), {}, {}, {}};
  TEPHRA_RETURN_IF_ERROR(check_format(*store.db, dir, OpenMode::kReadWrite));
  TEPHRA_RETURN_IF_ERROR(Rebuild(store, &report).run());
  std::sort(report.checkpoints.begin(), report.checkpoints.end());
  return report;
}

}  // namespace tephra::storage
