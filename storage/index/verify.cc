// Reading everything again. Problems are collected, not returned at the first: people want to know how much is damaged.
#include <algorithm>
#include <map>
#include <mutex>
#include <thread>

#include "base/threads.h"
#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

constexpr size_t kRunChunks = 16;  // that one thread reads, one after another

class Verifier {
 public:
  Verifier(const Store::Impl& store, LocatedManifest located, VerifyReport* report)
      : reader_(store.env, store.packs_dir(), std::move(located)), report_(report) {}

  // `chunks`: all that the manifest names and the index knows, with their places.
  Status run(std::vector<std::pair<ChunkRef, ChunkLocation>> chunks, const std::function<bool()>& cancelled) {
    report_->tensor_count = static_cast<int64_t>(reader_.manifest().tensors.size());
    TEPHRA_RETURN_IF_ERROR(check_chunks(&chunks, cancelled));
    for (const ManifestTensor& tensor : reader_.manifest().tensors) {
      if (cancelled && cancelled()) return {Code::kCancelled, "verifying " + reader_.manifest().name() + " was ended"};
      verify_tensor(tensor);
    }
    if (content_hash_of(reader_.manifest().tensors) != reader_.manifest().content_hash)
      report_->problems.push_back({.message = "the tensor table does not hash to the checkpoint's content_hash"});
    return ok_status();
  }

 private:
  struct Checked {
    std::string pack;
    Status status;
  };

  // Every chunk once, pack by pack and in the order of the file, by as many threads as there are cores.
  Status check_chunks(std::vector<std::pair<ChunkRef, ChunkLocation>>* chunks, const std::function<bool()>& cancelled) {
    std::sort(chunks->begin(), chunks->end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    std::mutex mutex;
    return parallel_for((chunks->size() + kRunChunks - 1) / kRunChunks,
                        static_cast<int>(std::thread::hardware_concurrency()), [&](size_t run) -> Status {
                          if (cancelled && cancelled())
                            return {Code::kCancelled, "verifying " + reader_.manifest().name() + " was ended"};
                          std::vector<std::byte> bytes;
                          for (size_t i = run * kRunChunks; i < std::min(chunks->size(), (run + 1) * kRunChunks); ++i) {
                            const auto& [chunk, place] = (*chunks)[i];
                            bytes.resize(chunk.length);
                            Status status = reader_.read_chunk(chunk, 0, bytes);
                            std::lock_guard lock(mutex);
                            report_->bytes_read += chunk.length;
                            checked_.emplace(chunk, Checked{place.pack, std::move(status)});
                          }
                          return ok_status();  // what is wrong stands in checked_
                        });
  }

  void verify_tensor(const ManifestTensor& tensor) {
    bool whole = true;
    const ChunkRef* before = nullptr;  // neighbouring pieces often share a chunk
    for (const Piece& piece : tensor.pieces) {
      if (before != nullptr && *before == piece.chunk) continue;
      before = &piece.chunk;
      const auto found = checked_.find(piece.chunk);
      if (found != checked_.end() && found->second.status.ok()) continue;
      whole = false;
      const bool known = found != checked_.end();
      const std::string pack = known ? found->second.pack : "";
      std::string message = "chunk " + piece.chunk.hash.hex() + " is not in the index";
      if (known && found->second.status.code() == Code::kNotFound)
        message = "pack " + pack + " is missing, unless gc moved it meanwhile";
      else if (known)
        message = found->second.status.message();
      report_->problems.push_back({.tensor = tensor.name,
                                   .kind = tensor.kind,
                                   .pack = pack,
                                   .chunk = piece.chunk,
                                   .message = std::move(message),
                                   .rank = rank_of_pack(pack)});
    }
    if (!whole) return;
    const auto content = reader_.content_of(tensor);
    if (!content.ok() || *content != tensor.content)
      report_->problems.push_back({.tensor = tensor.name,
                                   .kind = tensor.kind,
                                   .message = content.ok()
                                                  ? "its chunks are whole but do not hash to the tensor's content"
                                                  : content.status().message()});
  }

  const CheckpointReader reader_;
  VerifyReport* report_;
  std::map<ChunkRef, Checked> checked_;
};

// Who else loses by the damage. Reads all tensor tables, so only when there is some.
Status find_sharers(const Store::Impl& store, VerifyReport* report) {
  std::map<ChunkRef, std::vector<VerifyProblem*>> damaged;
  for (VerifyProblem& problem : report->problems)
    if (problem.chunk.length > 0) damaged[problem.chunk].push_back(&problem);
  if (damaged.empty()) return ok_status();
  return store.db->scan(ColumnFamily::kCheckpoints, "t/", [&](std::string_view key, std::string_view value) {
    const auto id = parse_header_key("h" + std::string(key.substr(1)));
    const auto tensors = decode_manifest_tensors(value);
    if (!id.ok() || !tensors.ok() || id->name() == report->name) return true;  // its own verify says so
    for (const ChunkRef& chunk : chunks_of(*tensors))
      if (const auto hit = damaged.find(chunk); hit != damaged.end())
        for (VerifyProblem* problem : hit->second) problem->also_needed_by.push_back(id->name());
    return true;
  });
}

}  // namespace

Result<VerifyReport> Store::verify(const std::string& name, const std::function<bool()>& cancelled) const {
  TEPHRA_ASSIGN_OR_RETURN(Manifest manifest, get(name));
  VerifyReport report;
  report.name = manifest.name();
  std::vector<ChunkRef> chunks = chunks_of(manifest.tensors);
  report.chunk_count = static_cast<int64_t>(chunks.size());
  TEPHRA_ASSIGN_OR_RETURN(auto places, impl_->locations(chunks));
  LocatedManifest located{std::move(manifest), {}};
  for (size_t i = 0; i < chunks.size(); ++i)
    if (places[i]) located.chunks.emplace_back(chunks[i], std::move(*places[i]));
  auto known = located.chunks;
  TEPHRA_RETURN_IF_ERROR(Verifier(*impl_, std::move(located), &report).run(std::move(known), cancelled));
  TEPHRA_RETURN_IF_ERROR(find_sharers(*impl_, &report));
  return report;
}

}  // namespace tephra::storage
