// A model's tensors become the base checkpoint that jobs start from and share.
#include <algorithm>

#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

constexpr uint64_t kImportPackBytes = 1u << 30;  // packs are gc's unit: many of a gigabyte rather than one of all

// Stores chunks once: in this import, in the store, or else in its packs.
class ChunkSink {
 public:
  explicit ChunkSink(const Store::Impl& store)
      : store_(store), packs_(store.env, store.packs_dir()), name_(unique_pack_name("import")) {}

  Result<ChunkRef> add(std::span<const std::byte> bytes, std::span<const Hash128> blocks) {
    ChunkRef chunk = chunk_of_blocks(blocks, bytes.size());
    if (seen_.contains(chunk)) return chunk;
    TEPHRA_ASSIGN_OR_RETURN(bool held, store_holds(chunk));
    if (!held) {
      if (writer_ && writer_->size_bytes() + bytes.size() > kImportPackBytes) TEPHRA_RETURN_IF_ERROR(seal());
      if (!writer_) {
        TEPHRA_ASSIGN_OR_RETURN(writer_, PackWriter::create(store_.env, store_.packs_dir(), pack_name()));
      }
      TEPHRA_ASSIGN_OR_RETURN(chunk, writer_->add(bytes));
    }
    seen_.insert(chunk);
    return chunk;
  }

  Status seal() {
    if (!writer_) return ok_status();
    TEPHRA_ASSIGN_OR_RETURN(PackSummary summary, writer_->finish());
    sealed_.push_back(std::move(summary));
    writer_.reset();
    return ok_status();
  }

  const std::vector<PackSummary>& sealed() const { return sealed_; }
  // Names of the files that this import may have made, also those of a pack that failed while it was sealed.
  std::vector<std::string> files() const {
    std::vector<std::string> files{pack_name() + ".pack", pack_name() + ".partial"};
    for (const PackSummary& pack : sealed_) files.push_back(pack.pack + ".pack");
    return files;
  }

 private:
  std::string pack_name() const { return name_ + "-" + std::to_string(sealed_.size()); }  // of the one being written

  // A damaged copy does not count: importing a model again is how its base is repaired.
  Result<bool> store_holds(const ChunkRef& chunk) {
    TEPHRA_ASSIGN_OR_RETURN(auto places, store_.locations({chunk}));
    return places[0] && packs_.check(chunk, *places[0]).ok();
  }

  const Store::Impl& store_;
  PackCache packs_;
  const std::string name_;
  std::unique_ptr<PackWriter> writer_;
  std::vector<PackSummary> sealed_;
  std::set<ChunkRef> seen_;
};

Status copy_tensors(const TensorSource& source, const ImportOptions& options, ChunkSink* sink,
                    std::vector<ManifestTensor>* tensors) {
  uint64_t total = 0, done = 0;
  for (const TensorInfo& info : source.tensors())
    total += static_cast<uint64_t>(numel(info.shape) * size_bytes(info.dtype));
  std::vector<std::byte> buffer(kChunkBytesMax);
  for (const TensorInfo& info : source.tensors()) {
    ManifestTensor tensor{.name = info.name, .dtype = info.dtype, .shape = info.shape, .content = {}, .pieces = {}};
    ContentHasher content;
    const int64_t count = numel(info.shape), element = size_bytes(info.dtype);
    const int64_t block = static_cast<int64_t>(kChunkBytesMax) / element;
    for (int64_t begin = 0; begin < count; begin += block) {
      int64_t n = std::min(block, count - begin);
      auto bytes = std::span(buffer).first(static_cast<size_t>(n * element));
      TEPHRA_RETURN_IF_ERROR(source.read_bytes(info.name, begin, n, bytes.data()));
      const std::vector<Hash128> blocks = hash_blocks(bytes);
      content.add(blocks);
      TEPHRA_ASSIGN_OR_RETURN(ChunkRef chunk, sink->add(bytes, blocks));
      tensor.pieces.push_back({begin, n, chunk, 0});
      done += bytes.size();
      if (options.progress) options.progress(done, total);
    }
    tensor.content = content.digest();
    tensors->push_back(std::move(tensor));
  }
  return sink->seal();
}

}  // namespace

Result<Manifest> Store::import_tensors(const TensorSource& source, const ImportOptions& options) {
  TEPHRA_RETURN_IF_ERROR(impl_->require_writable());
  const std::string key = import_key(options.import_key);
  if (!options.import_key.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(auto known, impl_->db->read(ColumnFamily::kMeta, key));
    if (known) {
      auto manifest = get(*known);
      if (manifest.ok() || manifest.status().code() != Code::kNotFound) return manifest;
    }
  }
  ChunkSink sink(*impl_);
  Manifest manifest;
  Status status = copy_tensors(source, options, &sink, &manifest.tensors);
  if (status.ok()) {
    manifest.job = "base";
    manifest.stage = content_hash_of(manifest.tensors).hex().substr(0, 16);
    manifest.handover = options.handover;
    manifest.recipe_json = options.recipe_json;
    manifest.build = options.build;
    manifest.stage_complete = true;
    std::vector<Put> extra;
    if (!options.import_key.empty()) extra.push_back({ColumnFamily::kMeta, key, manifest.name()});
    auto committed = impl_->commit(std::move(manifest), sink.sealed(), extra);
    if (committed.ok()) return committed;
    status = committed.status();
  }
  // What a failed import wrote is nobody's: the next gc may take it.
  std::lock_guard lock(impl_->mutex);
  for (const std::string& file : sink.files()) impl_->collectable.insert(file);
  return status;
}

}  // namespace tephra::storage
