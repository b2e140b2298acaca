// A checkpoint begins to exist here. Order: packs are durable already (their writers sealed them, and hashed every byte
// that they wrote); their footers are compared with what the writers reported; one synced batch names them. A crash
// before the batch leaves unknown packs, which gc removes; after it, a checkpoint.
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/threads.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

// The chunks that the new packs offer, taken from the summaries after comparing them with the packs' own footers: a
// summary came over the network, from a rank.
Result<std::map<ChunkRef, ChunkLocation>> offered_chunks(Env& env, const std::string& packs_dir,
                                                         const std::vector<PackSummary>& packs) {
  std::map<ChunkRef, ChunkLocation> offered;
  for (const PackSummary& pack : packs) {
    TEPHRA_ASSIGN_OR_RETURN(auto reader, PackReader::open(env, packs_dir, pack.pack));
    if (reader->summary().size_bytes != pack.size_bytes || reader->summary().chunks != pack.chunks)
      return Status(Code::kMismatch,
                    "pack " + pack_path(packs_dir, pack.pack) + " is not the one that its writer reported");
    for (const auto& [chunk, offset] : pack.chunks) offered.emplace(chunk, ChunkLocation{pack.pack, offset});
  }
  return offered;
}

bool same_bytes(const ManifestTensor& a, const ManifestTensor* b) {
  return b && a.dtype == b->dtype && a.shape == b->shape && a.pieces == b->pieces;
}

// Sets every tensor's content: the parent's where the tensor is the parent's, piece by piece (the parent's was computed
// from the same chunks when it was committed), and otherwise from its chunks; several tensors at a time, as a block that
// ranks share is waited for.
Status fill_content(const CheckpointReader& reader, const Manifest& parent, Manifest* manifest) {
  return parallel_for(manifest->tensors.size(), kReadThreads, [&](size_t i) -> Status {
    ManifestTensor& tensor = manifest->tensors[i];
    const ManifestTensor* original = parent.find(tensor.name, tensor.kind);
    Hash128 content;
    if (same_bytes(tensor, original)) {
      content = original->content;
    } else {
      TEPHRA_ASSIGN_OR_RETURN(content, reader.content_of(tensor));
    }
    if (tensor.content != Hash128{} && tensor.content != content)
      return {Code::kMismatch, "tensor " + tensor.name + " of " + manifest->name() + " was announced with content " +
                                   tensor.content.hex() + " and its chunks hold " + content.hex()};
    tensor.content = content;
    return ok_status();
  });
}

struct Plan {
  std::vector<ChunkRef> needed;               // by the manifest
  std::map<ChunkRef, ChunkLocation> offered;  // by the new packs
  std::vector<ChunkRef> replaced;             // in the index, but damaged there: the new copy takes their place
  LocatedManifest located;                    // where they are read back from
};

// Decides from where each needed chunk is read. A chunk that the store already holds keeps its place, if its bytes
// there are good.
Status place_chunks(const Store::Impl& store, Manifest manifest, Plan* plan) {
  plan->needed = chunks_of(manifest.tensors);
  TEPHRA_ASSIGN_OR_RETURN(auto places, store.locations(plan->needed));
  PackCache packs(store.env, store.packs_dir());
  for (size_t i = 0; i < plan->needed.size(); ++i) {
    const ChunkRef& chunk = plan->needed[i];
    auto offer = plan->offered.find(chunk);
    if (places[i] && offer != plan->offered.end() && !packs.check(chunk, *places[i]).ok()) {
      plan->replaced.push_back(chunk);
      places[i].reset();
    }
    if (!places[i] && offer == plan->offered.end())
      return {Code::kNotFound, manifest.name() + " needs chunk " + chunk.hash.hex() +
                                   ", which is neither in the store nor in its packs"};
    plan->located.chunks.emplace_back(chunk, places[i] ? *places[i] : offer->second);
  }
  plan->located.manifest = std::move(manifest);
  return ok_status();
}

// What the batch says about chunks and packs; runs under the store's lock, because gc may have removed a chunk since it
// was placed.
Result<std::vector<Put>> index_puts(const Store::Impl& store, const Plan& plan, const std::vector<PackSummary>& packs,
                                    int64_t now_ms, uint64_t* new_bytes) {
  std::vector<Put> puts;
  TEPHRA_ASSIGN_OR_RETURN(auto places, store.locations(plan.needed));
  *new_bytes = 0;
  for (size_t i = 0; i < plan.needed.size(); ++i) {
    const ChunkRef& chunk = plan.needed[i];
    bool replaced = std::binary_search(plan.replaced.begin(), plan.replaced.end(), chunk);
    if (places[i] && !replaced) continue;
    auto offer = plan.offered.find(chunk);
    if (offer == plan.offered.end())
      return Status(Code::kNotFound, RetryClass::kRetryHere,
                    "chunk " + chunk.hash.hex() + " was collected while it was being committed; commit again");
    puts.push_back(chunk_put(chunk, offer->second));
    *new_bytes += chunk.length;
  }
  for (const PackSummary& pack : packs) puts.push_back(pack_put(pack, now_ms));
  return puts;
}

}  // namespace

Result<Manifest> Store::Impl::commit(Manifest manifest, const std::vector<PackSummary>& packs,
                                     const std::vector<Put>& extra) {
  TEPHRA_RETURN_IF_ERROR(validate(manifest));
  Manifest parent;
  if (!manifest.parent.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(CheckpointId parent_id, parse_checkpoint_id(manifest.parent));
    TEPHRA_ASSIGN_OR_RETURN(auto parent_header, header(parent_id));
    // A parent that is gone by now costs the reading of what would have been its tensors, nothing else.
    if (parent_header) {
      TEPHRA_ASSIGN_OR_RETURN(parent, this->manifest(parent_id));
    }
  }
  const int64_t now_ms = Clock::system().unix_ms();
  if (manifest.created_unix_ms == 0) manifest.created_unix_ms = now_ms;

  // The long part, reading footers and shared blocks, holds no lock.
  Plan plan;
  for (bool again = true;;) {
    plan = {};
    TEPHRA_ASSIGN_OR_RETURN(plan.offered, offered_chunks(env, packs_dir(), packs));
    TEPHRA_RETURN_IF_ERROR(place_chunks(*this, manifest, &plan));
    CheckpointReader reader(env, packs_dir(), plan.located);
    Status filled = fill_content(reader, parent, &manifest);
    if (filled.ok()) break;
    // gc may have moved a chunk since it was placed; once more, with its new place.
    if (filled.code() != Code::kNotFound || !std::exchange(again, false)) return filled;
  }
  manifest.content_hash = content_hash_of(manifest.tensors);
  manifest.logical_bytes = 0;
  for (const ManifestTensor& tensor : manifest.tensors) manifest.logical_bytes += tensor.logical_bytes();

  std::lock_guard lock(mutex);
  const CheckpointId id = id_of(manifest);
  TEPHRA_ASSIGN_OR_RETURN(auto existing, header(id));
  if (existing && existing->content_hash != manifest.content_hash)
    return Status(Code::kAlreadyExists, "checkpoint " + id.name() + " is there with other content (" +
                                            existing->content_hash.hex() + ", not " + manifest.content_hash.hex() +
                                            ")");
  TEPHRA_ASSIGN_OR_RETURN(std::vector<Put> puts, index_puts(*this, plan, packs, now_ms, &manifest.new_bytes));
  if (!existing) {
    // Before the batch, so that there is no checkpoint without its file.
    TEPHRA_ASSIGN_OR_RETURN(manifest.commit_sequence, sequence());
    ++manifest.commit_sequence;
    TEPHRA_RETURN_IF_ERROR(write_manifest_file(env, manifests_dir(), manifest).with_context("commit " + id.name()));
    puts.push_back({ColumnFamily::kMeta, kSequenceKey, std::to_string(manifest.commit_sequence)});
    put_checkpoint(manifest, &puts);
  }
  puts.insert(puts.end(), extra.begin(), extra.end());
  TEPHRA_RETURN_IF_ERROR(db->write(puts, true).with_context("commit " + id.name()));
  if (!existing) return manifest;
  return this->manifest(id);
}

}  // namespace tephra::storage
