// What the store's source files share. Not for other folders.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "storage/index/database.h"
#include "storage/index/index_codec.h"
#include "storage/index/ownership.h"
#include "storage/index/store.h"
#include "storage/manifest_file.h"

namespace tephra::storage {

struct IndexView;  // index_view.h

// Reads that wait for the disk at a time, where many are to be done.
inline constexpr int kReadThreads = 8;

// Packs opened on demand and kept; one thread.
class PackCache {
 public:
  PackCache(Env& env, std::string packs_dir) : env_(env), packs_dir_(std::move(packs_dir)) {}
  Result<const PackReader*> get(const std::string& pack);
  // Ok when the chunk is there and its bytes are right.
  Status check(const ChunkRef& chunk, const ChunkLocation& location);

 private:
  Env& env_;
  const std::string packs_dir_;
  std::map<std::string, std::unique_ptr<PackReader>> open_;
  std::vector<std::byte> buffer_;
};

struct Store::Impl {
  Env& env;
  const std::string dir;
  const OpenMode mode;
  std::unique_ptr<Database> db;
  std::unique_ptr<Ownership> ownership;  // of a store that is open for writing; given up before the index's lock is

  // Orders everything that decides on what is in the index and then writes: commit's last step, tags, removals, leases,
  // gc.
  mutable std::mutex mutex;
  std::set<std::string> collectable;        // files in packs/ that no writer can be holding: see Store::gc
  std::set<std::string> released_prefixes;  // of leases released since the store was opened

  std::string packs_dir() const { return dir + "/packs"; }
  std::string manifests_dir() const { return dir + "/manifests"; }
  Status require_writable() const;

  // Is this a checkpoint? The only place that answers: its header, or nothing.
  Result<std::optional<Manifest>> header(const CheckpointId& id) const;
  Result<Manifest> manifest(const CheckpointId& id) const;  // with its tensors; kNotFound
  Status not_found(const std::string& name) const;          // says what is there instead
  Result<std::vector<std::optional<ChunkLocation>>> locations(const std::vector<ChunkRef>& chunks) const;
  // Number of the last commit; 0: none yet.
  Result<uint64_t> sequence() const;
  // Checkpoint's manifest files that the index does not name: of commits that did not happen, or removals that a crash
  // cut short.
  Result<std::vector<ManifestFile>> unknown_manifest_files() const;
  // Deletes a checkpoint from index and disk; the caller has checked that nothing holds it and holds the lock.
  Status erase(const Manifest& header);
  // The first half of gc. `view`: of the index before it; what it says of packs with a reachable chunk holds after it too.
  Status collect(bool dry_run, IndexView* view, GcReport* report);
  Status remove_pack_file(const std::string& file);  // under the lock; remembered as collectable when it fails
  Result<std::vector<Lease>> leases() const;
  Result<std::map<std::string, std::string>> tags() const;
  Result<std::set<std::string>> pins() const;
  // Ok when nothing holds the checkpoint of that full name; kBusy says what does.
  Status check_unheld(const std::string& full) const;
  Result<Manifest> commit(Manifest manifest, const std::vector<PackSummary>& packs, const std::vector<Put>& extra);
};

// What the index says of a checkpoint, a chunk and a pack, as it is written and erased.
void put_checkpoint(const Manifest& manifest, std::vector<Put>* puts);
void erase_checkpoint(const CheckpointId& id, std::vector<Put>* puts);
Put chunk_put(const ChunkRef& chunk, const ChunkLocation& location);
Put pack_put(const PackSummary& pack, int64_t committed_unix_ms);

// Refuses an index of another format; a new one is given ours in kReadWrite.
Status check_format(Database& db, const std::string& dir, OpenMode mode);

// Counts what removing or rewriting a file of packs/ gives back.
void gives(const std::string& file, uint64_t bytes, GcReport* report);

// The second half of gc, with the first one's view. Takes the store's lock by itself.
Status rewrite_packs(Store::Impl& store, IndexView view, double rewrite_below, GcReport* report);

// Of a pack that no rank writes: "import-3f..." and the like, never given twice.
std::string unique_pack_name(const std::string& what);

// Sorted, unique.
std::vector<ChunkRef> chunks_of(const std::vector<ManifestTensor>& tensors);

}  // namespace tephra::storage
