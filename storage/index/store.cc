// Opening, owning and the journal. The rest: checkpoints.cc, commit.cc, import.cc, gc.cc, verify.cc.
#include "storage/index/store.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "base/clock.h"
#include "base/random.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

constexpr const char* kFormatKey = "format";
constexpr const char* kFormatVersion = "3";

Status rebuild_first(const std::string& dir, const std::string& what) {
  return {Code::kCorruption,
          what + "; make the index again from the checkpoints' own files: tephra store rebuild --store " + dir};
}

// A store whose index folder was lost would otherwise begin anew, and gc would take its packs.
Status check_index_is_there(Env& env, const Store::Impl& store) {
  if (env.exists(store.dir + "/index/CURRENT")) return ok_status();
  TEPHRA_ASSIGN_OR_RETURN(const auto files, list_manifest_files(env, store.manifests_dir()));
  if (files.empty()) return ok_status();
  return rebuild_first(store.dir, "store " + store.dir + " has " + std::to_string(files.size()) +
                                      " checkpoints in manifests/ and no index");
}

// A manifest file is written just before its commit, so one may be a single commit ahead of the index.
Status check_index_is_newest(const Store::Impl& store) {
  TEPHRA_ASSIGN_OR_RETURN(const auto half_done, store.db->read(ColumnFamily::kMeta, kRebuildingKey));
  if (half_done) return rebuild_first(store.dir, "a rebuild of the index of store " + store.dir + " did not end");
  TEPHRA_ASSIGN_OR_RETURN(const uint64_t known, store.sequence());
  TEPHRA_ASSIGN_OR_RETURN(const auto files, list_manifest_files(store.env, store.manifests_dir()));
  if (files.empty() || files.back().sequence <= known + 1) return ok_status();
  return rebuild_first(store.dir, "the index of store " + store.dir + " knows " + std::to_string(known) +
                                      " commits and manifests/ has one numbered " +
                                      std::to_string(files.back().sequence) + "; it is an older copy");
}

// What the store's own methods keep consistent is not written through the journal.
Status check_journal(const std::vector<Put>& puts) {
  for (const Put& put : puts) {
    bool ours = put.cf == ColumnFamily::kCheckpoints || put.cf == ColumnFamily::kChunks ||
                put.cf == ColumnFamily::kLeases || put.cf == ColumnFamily::kTags ||
                (put.cf == ColumnFamily::kMeta &&
                 (put.key == kFormatKey || put.key == kSequenceKey || put.key == kRebuildingKey ||
                  put.key.starts_with("pack/") || put.key.starts_with("import/")));
    if (ours)
      return {Code::kInvalidArgument,
              "key '" + put.key + "' belongs to the store and is not written through its journal"};
  }
  return ok_status();
}

}  // namespace

Status check_format(Database& db, const std::string& dir, OpenMode mode) {
  TEPHRA_ASSIGN_OR_RETURN(auto version, db.read(ColumnFamily::kMeta, kFormatKey));
  if (!version && mode == OpenMode::kReadWrite)
    return db.write({{ColumnFamily::kMeta, kFormatKey, kFormatVersion}}, true);
  if (!version) return {Code::kNotFound, dir + " is not a finished store; open it once for writing"};
  if (*version != kFormatVersion)
    return {Code::kUnsupported, "store " + dir + " has format " + *version + " and this build reads format " +
                                    kFormatVersion + "; use the build that made it, or a newer one"};
  return ok_status();
}

Result<const PackReader*> PackCache::get(const std::string& pack) {
  auto it = open_.find(pack);
  if (it == open_.end()) {
    if (open_.size() >= CheckpointReader::kOpenPacks) open_.clear();
    TEPHRA_ASSIGN_OR_RETURN(auto reader, PackReader::open(env_, packs_dir_, pack));
    it = open_.emplace(pack, std::move(reader)).first;
  }
  return it->second.get();
}

Status PackCache::check(const ChunkRef& chunk, const ChunkLocation& location) {
  TEPHRA_ASSIGN_OR_RETURN(const PackReader* reader, get(location.pack));
  buffer_.resize(chunk.length);
  return reader->read_chunk(chunk, location.offset, buffer_);
}

void put_checkpoint(const Manifest& manifest, std::vector<Put>* puts) {
  const CheckpointId id = id_of(manifest);
  puts->push_back({ColumnFamily::kCheckpoints, header_key(id), encode_manifest_header(manifest)});
  puts->push_back({ColumnFamily::kCheckpoints, tensors_key(id), encode_manifest_tensors(manifest.tensors)});
}

void erase_checkpoint(const CheckpointId& id, std::vector<Put>* puts) {
  puts->push_back({ColumnFamily::kCheckpoints, header_key(id), "", true});
  puts->push_back({ColumnFamily::kCheckpoints, tensors_key(id), "", true});
}

Put chunk_put(const ChunkRef& chunk, const ChunkLocation& location) {
  return {ColumnFamily::kChunks, chunk_key(chunk), encode(location)};
}

Put pack_put(const PackSummary& pack, int64_t committed_unix_ms) {
  return {ColumnFamily::kMeta, pack_key(pack.pack),
          encode(PackInfo{pack.size_bytes, pack.chunks.size(), committed_unix_ms})};
}

std::string unique_pack_name(const std::string& what) {
  static std::atomic<uint64_t> counter{0};
  uint64_t bits =
      random_bits({static_cast<uint64_t>(Clock::system().unix_ms()), static_cast<uint64_t>(::getpid()), counter++});
  return what + "-" + Hash128{0, bits}.hex().substr(16);
}

std::vector<ChunkRef> chunks_of(const std::vector<ManifestTensor>& tensors) {
  std::vector<ChunkRef> chunks;
  for (const ManifestTensor& tensor : tensors)
    for (const Piece& piece : tensor.pieces) chunks.push_back(piece.chunk);
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(Env& env, const std::string& dir, OpenMode mode,
                                           const std::string& owner_url) {
  std::unique_ptr<Impl> impl(new Impl{env, dir, mode, nullptr, nullptr, {}, {}, {}});
  if (mode == OpenMode::kReadWrite) TEPHRA_RETURN_IF_ERROR(Ownership::ask(dir));
  TEPHRA_RETURN_IF_ERROR(check_index_is_there(env, *impl));
  if (mode == OpenMode::kReadWrite) {
    TEPHRA_RETURN_IF_ERROR(env.make_directories(impl->packs_dir()));
    TEPHRA_RETURN_IF_ERROR(env.make_directories(impl->manifests_dir()));
    TEPHRA_RETURN_IF_ERROR(env.sync_directory(dir));
  } else if (!env.exists(dir + "/index")) {
    return Status(Code::kNotFound,
                  "there is no store in " + dir + "; name another with --store, or run a recipe, which makes it");
  }
  auto db = Database::open(dir + "/index", mode);
  if (!db.ok()) return db.status().code() == Code::kBusy ? Ownership::busy(dir) : db.status();
  impl->db = std::move(*db);
  TEPHRA_RETURN_IF_ERROR(check_format(*impl->db, dir, mode));
  if (mode == OpenMode::kReadWrite) TEPHRA_RETURN_IF_ERROR(check_index_is_newest(*impl));
  if (mode == OpenMode::kReadWrite) {
    impl->ownership = std::make_unique<Ownership>(dir, owner_url);
    TEPHRA_ASSIGN_OR_RETURN(auto files, env.list(impl->packs_dir()));
    impl->collectable.insert(files.begin(), files.end());
  }
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

std::string Store::packs_dir() const { return impl_->packs_dir(); }
const std::string& Store::dir() const { return impl_->dir; }
bool Store::read_only() const { return impl_->mode == OpenMode::kReadOnly; }

Status Store::Impl::require_writable() const {
  if (mode == OpenMode::kReadWrite) return ok_status();
  return {Code::kPermission, "store " + dir + " is open read-only"};
}

Status Store::write(const std::vector<Put>& puts, bool sync) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  TEPHRA_RETURN_IF_ERROR(check_journal(puts));
  return impl_->db->write(puts, sync);
}

Result<std::optional<std::string>> Store::read(ColumnFamily cf, const std::string& key) const {
  return impl_->db->read(cf, key);
}

Status Store::scan(ColumnFamily cf, const std::string& prefix,
                   const std::function<bool(std::string_view key, std::string_view value)>& callback,
                   const std::string& start) const {
  return impl_->db->scan(cf, prefix, callback, start);
}

Result<Manifest> Store::commit(Manifest manifest, const std::vector<PackSummary>& packs,
                               const std::vector<Put>& extra) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  TEPHRA_RETURN_IF_ERROR(check_journal(extra));
  return impl_->commit(std::move(manifest), packs, extra);
}

}  // namespace tephra::storage
