// Reading everything again. Problems are collected, not returned at the first: people want to know how much is damaged.
#include <algorithm>

#include "storage/index/store_impl.h"

namespace tephra::storage {
namespace {

class Verifier {
 public:
  Verifier(const Store::Impl& store, VerifyReport* report)
      : packs_(store.env, store.packs_dir()), store_(store), report_(report) {}

  Status run(const Manifest& manifest, const std::function<bool()>& cancelled) {
    std::vector<ChunkRef> chunks = chunks_of(manifest.tensors);
    TEPHRA_ASSIGN_OR_RETURN(auto places, store_.locations(chunks));
    for (size_t i = 0; i < chunks.size(); ++i)
      if (places[i]) places_.emplace(chunks[i], std::move(*places[i]));
    report_->chunk_count = static_cast<int64_t>(chunks.size());
    report_->tensor_count = static_cast<int64_t>(manifest.tensors.size());
    for (const ManifestTensor& tensor : manifest.tensors) {
      if (cancelled && cancelled()) return {Code::kCancelled, "verifying " + manifest.name() + " was ended"};
      verify_tensor(tensor);
    }
    if (content_hash_of(manifest.tensors) != manifest.content_hash)
      report_->problems.push_back({.message = "the tensor table does not hash to the checkpoint's content_hash"});
    return ok_status();
  }

 private:
  void verify_tensor(const ManifestTensor& tensor) {
    const uint64_t element = static_cast<uint64_t>(size_bytes(tensor.dtype));
    ContentHasher content;
    bool whole = true;
    uint64_t at = 0;  // bytes of the tensor before the piece
    for (const Piece& piece : tensor.pieces) {
      const uint64_t bytes = static_cast<uint64_t>(piece.count) * element;
      const uint64_t block = std::min(kChunkBytesMax, tensor.logical_bytes() - at);
      const bool is_block = at % kChunkBytesMax == 0 && bytes == block && piece.chunk.length == block;
      at += bytes;
      if (!load(tensor, piece.chunk)) {
        whole = false;
      } else if (is_block) {
        content.add(piece.chunk);  // its bytes were compared with this hash just now
      } else {
        content.update(std::span(bytes_).subspan(piece.offset_in_chunk, bytes));
      }
    }
    if (whole && content.digest() != tensor.content)
      report_->problems.push_back({.tensor = tensor.name,
                                   .kind = tensor.kind,
                                   .message = "its chunks are whole but do not hash to the tensor's content"});
  }

  // Fills bytes_; a tensor's neighbouring pieces often share a chunk, so the last one is kept.
  bool load(const ManifestTensor& tensor, const ChunkRef& chunk) {
    if (loaded_ && *loaded_ == chunk) return true;
    loaded_.reset();
    auto place = places_.find(chunk);
    auto problem = [&](const std::string& pack, const std::string& message) {
      report_->problems.push_back({.tensor = tensor.name,
                                   .kind = tensor.kind,
                                   .pack = pack,
                                   .chunk = chunk,
                                   .message = message,
                                   .rank = rank_of_pack(pack)});
      return false;
    };
    if (place == places_.end()) return problem("", "chunk " + chunk.hash.hex() + " is not in the index");
    auto reader = packs_.get(place->second.pack);
    if (!reader.ok()) return problem(place->second.pack, reader.status().message());
    bytes_.resize(chunk.length);
    Status status = (*reader)->read_chunk(chunk, place->second.offset, bytes_);
    report_->bytes_read += chunk.length;
    if (!status.ok()) return problem(place->second.pack, status.message());
    loaded_ = chunk;
    return true;
  }

  PackCache packs_;
  const Store::Impl& store_;
  VerifyReport* report_;
  std::map<ChunkRef, ChunkLocation> places_;
  std::vector<std::byte> bytes_;
  std::optional<ChunkRef> loaded_;
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
  TEPHRA_RETURN_IF_ERROR(Verifier(*impl_, &report).run(manifest, cancelled));
  TEPHRA_RETURN_IF_ERROR(find_sharers(*impl_, &report));
  return report;
}

}  // namespace tephra::storage
