// Space given back from packs that are mostly dead: what lives moves to a new pack. The copying holds no lock; what
// happened meanwhile is looked at before the index changes.
#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "storage/index/index_view.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

// What a pack takes beside its chunks, at most: header, trailer, for each chunk its entry and its padding, and its blocks'
// hashes. A pack of a few small chunks is mostly that, and rewriting it would gain nothing.
uint64_t overhead_bytes(const PackInfo& pack) {
  return 128 + 63 + pack.chunk_count * (32 + 63 + 16) + pack.size_bytes / kBlockBytes * 16;
}

constexpr uint64_t kGroupBytes = 1u << 30;  // live bytes that are there twice at a time

struct Victim {
  std::string pack;
  uint64_t file_bytes = 0;
  std::vector<LiveChunk> live;
  std::vector<std::string> dead_keys;  // the index's keys of its other chunks
  uint64_t live_bytes() const {
    uint64_t bytes = 0;
    for (const LiveChunk& entry : live) bytes += entry.chunk.length;
    return bytes;
  }
};

// Packs that a gang may be reading from: those of the checkpoints that leases name, found before the gang starts.
Result<std::set<std::string>> packs_in_use(const Store::Impl& store, const std::vector<Lease>& leases) {
  std::set<std::string> packs;
  for (const Lease& lease : leases)
    for (const std::string& name : lease.checkpoints) {
      TEPHRA_ASSIGN_OR_RETURN(const CheckpointId id, parse_checkpoint_id(name));
      TEPHRA_ASSIGN_OR_RETURN(const Manifest manifest, store.manifest(id));
      TEPHRA_ASSIGN_OR_RETURN(const auto places, store.locations(chunks_of(manifest.tensors)));
      for (const auto& place : places)
        if (place) packs.insert(place->pack);
    }
  return packs;
}

// Under the store's lock.
Result<std::map<std::string, Victim>> find_victims(const Store::Impl& store, IndexView view, double rewrite_below) {
  TEPHRA_ASSIGN_OR_RETURN(const auto leases, store.leases());
  TEPHRA_ASSIGN_OR_RETURN(const auto in_use, packs_in_use(store, leases));
  std::map<std::string, Victim> victims;
  for (auto& [pack, live] : view.reached) {
    const auto info = view.packs.find(pack);
    const bool leased = std::any_of(leases.begin(), leases.end(),
                                    [&](const Lease& lease) { return pack.starts_with(lease.pack_prefix); });
    if (info == view.packs.end() || leased || in_use.contains(pack)) continue;
    Victim victim{pack, info->second.size_bytes, std::move(live), std::move(view.chunk_keys[pack])};
    const uint64_t overhead = overhead_bytes(info->second);
    if (victim.file_bytes <= overhead) continue;
    if (static_cast<double>(victim.live_bytes()) < rewrite_below * static_cast<double>(victim.file_bytes - overhead))
      victims.emplace(pack, std::move(victim));
  }
  return victims;
}

// A sealed pack with the victim's live chunks, each compared with its hash on the way.
Result<PackSummary> copy_live(const Store::Impl& store, const Victim& victim, const std::string& name) {
  TEPHRA_ASSIGN_OR_RETURN(auto from, PackReader::open(store.env, store.packs_dir(), victim.pack));
  TEPHRA_ASSIGN_OR_RETURN(auto to, PackWriter::create(store.env, store.packs_dir(), name));
  std::vector<std::byte> bytes;
  for (const LiveChunk& entry : victim.live) {
    bytes.resize(entry.chunk.length);
    TEPHRA_RETURN_IF_ERROR(from->read_chunk(entry.chunk, entry.offset, bytes));
    TEPHRA_RETURN_IF_ERROR(to->add(bytes).status());
  }
  return to->finish();
}

void switch_index(const Victim& victim, const PackSummary& copy, std::vector<Put>* puts) {
  for (const auto& [chunk, offset] : copy.chunks) puts->push_back(chunk_put(chunk, {copy.pack, offset}));
  for (const std::string& key : victim.dead_keys) puts->push_back({ColumnFamily::kChunks, key, "", true});
  puts->push_back({ColumnFamily::kMeta, pack_key(victim.pack), "", true});
  puts->push_back(pack_put(copy, Clock::system().unix_ms()));
}

// Both in the order of the index. A number alone would not do: one chunk may have died while another came to life.
bool same_chunks(const std::vector<LiveChunk>& a, const std::vector<LiveChunk>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const LiveChunk& x, const LiveChunk& y) { return x.chunk == y.chunk; });
}

using Group = std::vector<std::pair<Victim, PackSummary>>;  // with their copies

Status finish_group(Store::Impl& store, double rewrite_below, const Group& group, GcReport* report) {
  std::lock_guard lock(store.mutex);
  TEPHRA_ASSIGN_OR_RETURN(IndexView view, view_index(*store.db));
  TEPHRA_ASSIGN_OR_RETURN(auto now, find_victims(store, std::move(view), rewrite_below));
  std::vector<Put> puts;
  std::vector<std::string> gone;
  for (const auto& [victim, copy] : group) {
    // A commit may have taken a chunk that was dead, or an attempt may have begun to read here: another gc will look.
    const auto still = now.find(victim.pack);
    const bool same = still != now.end() && same_chunks(still->second.live, victim.live);
    gone.push_back((same ? victim.pack : copy.pack) + ".pack");
    if (!same) continue;
    switch_index(still->second, copy, &puts);
    report->rewritten.push_back(victim.pack + ".pack");
    gives(victim.pack + ".pack", victim.file_bytes - std::min(victim.file_bytes, copy.size_bytes), report);
  }
  TEPHRA_RETURN_IF_ERROR(store.db->write(puts, true));
  for (const auto& [victim, copy] : group) store.collectable.erase(copy.pack + ".pack");
  for (const std::string& file : gone) TEPHRA_RETURN_IF_ERROR(store.remove_pack_file(file));
  return store.env.sync_directory(store.packs_dir());
}

}  // namespace

Status rewrite_packs(Store::Impl& store, IndexView view, double rewrite_below, GcReport* report) {
  std::map<std::string, Victim> victims;
  {
    std::lock_guard lock(store.mutex);
    TEPHRA_ASSIGN_OR_RETURN(victims, find_victims(store, std::move(view), rewrite_below));
  }
  const std::string name = unique_pack_name("gc");
  Group group;
  uint64_t group_bytes = 0, copies = 0;
  for (auto& [pack, victim] : victims) {
    const uint64_t live = victim.live_bytes();
    if (report->dry_run) {
      report->rewritten.push_back(pack + ".pack");
      gives(pack + ".pack", victim.file_bytes - live, report);
      continue;
    }
    const std::string copy_name = name + "-" + std::to_string(copies++);
    {
      std::lock_guard lock(store.mutex);
      store.collectable.insert(copy_name + ".pack");  // until the index names it
    }
    auto copy = copy_live(store, victim, copy_name);
    if (copy.status().code() == Code::kCorruption) {
      // It stays as it is: verify names the damage, and saving or importing the same bytes again repairs it.
      log::warning("a pack is not rewritten", {{"pack", pack}, {"error", copy.status().message()}});
      continue;
    }
    TEPHRA_RETURN_IF_ERROR(copy.status());
    group.emplace_back(std::move(victim), std::move(*copy));
    group_bytes += live;
    if (group_bytes < kGroupBytes) continue;
    TEPHRA_RETURN_IF_ERROR(finish_group(store, rewrite_below, group, report));
    group.clear();
    group_bytes = 0;
  }
  return group.empty() ? ok_status() : finish_group(store, rewrite_below, group, report);
}

}  // namespace tephra::storage
