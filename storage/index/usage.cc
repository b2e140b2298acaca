// What one checkpoint takes of the store, which keeps equal bytes once.
#include <algorithm>
#include <vector>

#include "storage/index/store_impl.h"

namespace tephra::storage {

Result<CheckpointUsage> Store::usage(const std::string& name) const {
  TEPHRA_ASSIGN_OR_RETURN(const Manifest manifest, get(name));
  const std::vector<ChunkRef> chunks = chunks_of(manifest.tensors);
  std::vector<bool> shared(chunks.size(), false);
  size_t left = chunks.size();  // that nobody else was seen to name
  TEPHRA_ASSIGN_OR_RETURN(const auto all, list());
  for (const CheckpointInfo& info : all) {
    if (left == 0) break;
    if (info.name == manifest.name()) continue;
    Result<Manifest> other = impl_->manifest(id_of(info.header));
    if (!other.ok() && other.status().code() == Code::kNotFound) continue;  // removed since
    if (!other.ok()) return other.status();
    for (const ManifestTensor& tensor : other->tensors)
      for (const Piece& piece : tensor.pieces) {
        const auto found = std::lower_bound(chunks.begin(), chunks.end(), piece.chunk);
        if (found == chunks.end() || *found != piece.chunk) continue;
        const auto index = static_cast<size_t>(found - chunks.begin());
        if (!shared[index]) --left;
        shared[index] = true;
      }
  }
  CheckpointUsage usage;
  for (size_t i = 0; i < chunks.size(); ++i) (shared[i] ? usage.shared_bytes : usage.own_bytes) += chunks[i].length;
  return usage;
}

}  // namespace tephra::storage
