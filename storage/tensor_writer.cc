#include "storage/tensor_writer.h"

#include <algorithm>

namespace tephra::storage {
namespace {

Status same_tensor(const ManifestTensor& have, const ManifestTensor& other, Code code) {
  if (have.dtype == other.dtype && have.shape == other.shape) return ok_status();
  return {code, "tensor " + have.name + " (" + std::string(state_kind_name(have.kind)) + ") is given once as " +
                    std::string(dtype_name(have.dtype)) + " " + to_string(have.shape) + " and once as " +
                    std::string(dtype_name(other.dtype)) + " " + to_string(other.shape)};
}

void sort_pieces(ManifestTensor* tensor) {
  std::sort(tensor->pieces.begin(), tensor->pieces.end());
  // Equal ranges with equal bytes are one piece: replicas write the same.
  tensor->pieces.erase(std::unique(tensor->pieces.begin(), tensor->pieces.end()), tensor->pieces.end());
}

}  // namespace

Result<std::unique_ptr<TensorWriter>> TensorWriter::create(Env& env, const std::string& packs_dir,
                                                           const std::string& pack_name, AfterChunk after_chunk) {
  TEPHRA_ASSIGN_OR_RETURN(auto pack, PackWriter::create(env, packs_dir, pack_name));
  return std::unique_ptr<TensorWriter>(new TensorWriter(std::move(pack), std::move(after_chunk)));
}

Status TensorWriter::add(const std::string& name, StateKind kind, DType dtype, const Shape& shape, int64_t begin,
                         int64_t count, const std::byte* bytes) {
  ManifestTensor declared{.name = name, .kind = kind, .dtype = dtype, .shape = shape, .content = {}, .pieces = {}};
  const int64_t total = numel(shape);
  if (begin < 0 || count < 0 || begin > total || count > total - begin)
    return {Code::kInvalidArgument, "tensor " + name + ": elements " + std::to_string(begin) + " to " +
                                        std::to_string(begin + count) + " are outside shape " + to_string(shape)};
  ManifestTensor& tensor = tensors_.try_emplace({name, kind}, declared).first->second;
  TEPHRA_RETURN_IF_ERROR(same_tensor(tensor, declared, Code::kInvalidArgument));
  const int64_t element = tephra::size_bytes(dtype);
  const int64_t chunk_elements = static_cast<int64_t>(kChunkBytesMax) / element;
  const int64_t block_elements = static_cast<int64_t>(kBlockBytes) / element;
  while (count > 0) {
    // Cut at multiples of the chunk size from the tensor's start, not from this range's: see kChunkBytesMax. A range that
    // starts inside of a block has a chunk of what is left of it, so that later chunks' blocks are the tensor's.
    const int64_t cut = begin % block_elements != 0 ? block_elements : chunk_elements;
    int64_t n = std::min(count, cut - begin % cut);
    TEPHRA_ASSIGN_OR_RETURN(ChunkRef chunk, pack_->add(std::span(bytes, static_cast<size_t>(n * element))));
    tensor.pieces.push_back({begin, n, chunk, 0});
    added_bytes_ += chunk.length;
    if (after_chunk_) after_chunk_(added_bytes_);
    begin += n;
    count -= n;
    bytes += n * element;
  }
  return ok_status();
}

Result<ShardSummary> TensorWriter::finish() {
  ShardSummary summary;
  TEPHRA_ASSIGN_OR_RETURN(summary.pack, pack_->finish());
  for (auto& [key, tensor] : tensors_) {
    sort_pieces(&tensor);
    summary.tensors.push_back(std::move(tensor));
  }
  return summary;
}

Result<std::vector<ManifestTensor>> merge(const std::vector<ShardSummary>& shards) {
  std::map<std::pair<std::string, StateKind>, ManifestTensor> merged;
  for (const ShardSummary& shard : shards) {
    for (const ManifestTensor& part : shard.tensors) {
      auto [it, added] = merged.try_emplace({part.name, part.kind}, part);
      if (added) continue;
      TEPHRA_RETURN_IF_ERROR(same_tensor(it->second, part, Code::kMismatch));
      it->second.pieces.insert(it->second.pieces.end(), part.pieces.begin(), part.pieces.end());
    }
  }
  std::vector<ManifestTensor> tensors;
  tensors.reserve(merged.size());
  for (auto& [key, tensor] : merged) {
    sort_pieces(&tensor);
    if (Status status = validate_tensor(tensor); !status.ok()) return Status(Code::kMismatch, status.message());
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace tephra::storage
