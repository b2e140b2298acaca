#include "storage/checkpoint_reader.h"

#include <algorithm>
#include <cstring>

namespace tephra::storage {

CheckpointReader::CheckpointReader(Env& env, std::string packs_dir, LocatedManifest located)
    : env_(env), packs_dir_(std::move(packs_dir)), located_(std::move(located)) {
  for (const ManifestTensor& tensor : located_.manifest.tensors)
    if (tensor.kind == StateKind::kParameter) parameters_.push_back({tensor.name, tensor.dtype, tensor.shape});
}

bool CheckpointReader::has_state(const std::string& name, StateKind kind) const {
  return located_.manifest.find(name, kind) != nullptr;
}

Status CheckpointReader::read_float32(const std::string& name, int64_t begin, int64_t count, float* out) const {
  return read_state_float32(name, StateKind::kParameter, begin, count, out);
}

Status CheckpointReader::read_bytes(const std::string& name, int64_t begin, int64_t count, std::byte* out) const {
  return read_state_bytes(name, StateKind::kParameter, begin, count, out);
}

Result<const ManifestTensor*> CheckpointReader::tensor_for(const std::string& name, StateKind kind, int64_t begin,
                                                           int64_t count) const {
  const Manifest& manifest = located_.manifest;
  const ManifestTensor* tensor = manifest.find(name, kind);
  if (!tensor)
    return Status(Code::kNotFound,
                  "checkpoint " + manifest.name() + " has no " + std::string(state_kind_name(kind)) + " named " + name);
  const int64_t total = numel(tensor->shape);
  if (begin < 0 || count < 0 || begin > total || count > total - begin)
    return Status(Code::kInvalidArgument, "tensor " + name + " of " + manifest.name() + ": elements " +
                                              std::to_string(begin) + " to " + std::to_string(begin + count) +
                                              " are outside shape " + to_string(tensor->shape));
  return tensor;
}

Status CheckpointReader::read_state_bytes(const std::string& name, StateKind kind, int64_t begin, int64_t count,
                                          std::byte* out) const {
  TEPHRA_ASSIGN_OR_RETURN(const ManifestTensor* tensor, tensor_for(name, kind, begin, count));
  return read_range(*tensor, begin, count, out);
}

Status CheckpointReader::read_state_float32(const std::string& name, StateKind kind, int64_t begin, int64_t count,
                                            float* out) const {
  TEPHRA_ASSIGN_OR_RETURN(const ManifestTensor* tensor, tensor_for(name, kind, begin, count));
  if (tensor->dtype == DType::kFloat32) return read_range(*tensor, begin, count, reinterpret_cast<std::byte*>(out));
  // Converted a block at a time, so that the extra memory does not grow with the tensor.
  const int64_t element = size_bytes(tensor->dtype);
  const int64_t block = static_cast<int64_t>(kChunkBytesMax) / element;
  std::vector<std::byte> stored(static_cast<size_t>(std::min(block, count) * element));
  while (count > 0) {
    int64_t n = std::min(count, block - begin % block);
    TEPHRA_RETURN_IF_ERROR(read_range(*tensor, begin, n, stored.data()));
    TEPHRA_RETURN_IF_ERROR(convert_to_float32(stored.data(), tensor->dtype, n, out).with_context("tensor " + name));
    begin += n;
    count -= n;
    out += n;
  }
  return ok_status();
}

Status CheckpointReader::read_range(const ManifestTensor& tensor, int64_t begin, int64_t count, std::byte* out) const {
  const int64_t element = size_bytes(tensor.dtype);
  const int64_t end = begin + count;
  auto it = std::upper_bound(tensor.pieces.begin(), tensor.pieces.end(), begin,
                             [](int64_t b, const Piece& piece) { return b < piece.begin; });
  if (it != tensor.pieces.begin()) --it;  // pieces cover the tensor, so the one before holds `begin`
  for (; begin < end; ++it) {
    const int64_t n = std::min(end, it->begin + it->count) - begin;
    const std::span<std::byte> to(out, static_cast<size_t>(n * element));
    Status status = read_piece(*it, static_cast<uint64_t>((begin - it->begin) * element), to);
    if (!status.ok())
      return status.with_context("tensor " + tensor.name + " of checkpoint " + located_.manifest.name());
    out += n * element;
    begin += n;
  }
  return ok_status();
}

Status CheckpointReader::read_piece(const Piece& piece, uint64_t offset, std::span<std::byte> out) const {
  if (out.size() == piece.chunk.length) {  // the whole chunk: to its place without a copy
    TEPHRA_ASSIGN_OR_RETURN(const auto found, place(piece.chunk));
    return found.pack->read_chunk(piece.chunk, found.offset, out);
  }
  TEPHRA_ASSIGN_OR_RETURN(const Bytes bytes, chunk(piece.chunk));
  std::memcpy(out.data(), bytes->data() + piece.offset_in_chunk + offset, out.size());
  return ok_status();
}

Result<CheckpointReader::Found> CheckpointReader::place(const ChunkRef& ref) const {
  const ChunkLocation* location = located_.find(ref);
  if (!location) return Status(Code::kCorruption, "chunk " + ref.hash.hex() + " has no known place");
  TEPHRA_ASSIGN_OR_RETURN(auto reader, pack(location->pack));
  return Found{std::move(reader), location->offset};
}

Result<CheckpointReader::Bytes> CheckpointReader::chunk(const ChunkRef& ref) const {
  {
    std::lock_guard lock(mutex_);
    auto it = std::find_if(chunks_.begin(), chunks_.end(), [&](const auto& entry) { return entry.first == ref; });
    if (it != chunks_.end()) {
      chunks_.splice(chunks_.begin(), chunks_, it);
      return it->second;
    }
  }
  TEPHRA_ASSIGN_OR_RETURN(const Found found, place(ref));
  auto bytes = std::make_shared<std::vector<std::byte>>(ref.length);
  TEPHRA_RETURN_IF_ERROR(found.pack->read_chunk(ref, found.offset, *bytes));
  // Two threads may have read the same chunk meanwhile; both copies are good and one is soon evicted.
  std::lock_guard lock(mutex_);
  chunks_.emplace_front(ref, bytes);
  if (chunks_.size() > kCachedChunks) chunks_.pop_back();
  return Bytes(bytes);
}

Result<std::shared_ptr<const PackReader>> CheckpointReader::pack(const std::string& name) const {
  {
    std::lock_guard lock(mutex_);
    if (auto it = packs_.find(name); it != packs_.end()) return it->second;
  }
  auto opened = PackReader::open(env_, packs_dir_, name);
  if (opened.status().code() == Code::kNotFound)
    return opened.status().with_context("removed, or rewritten by gc, since the checkpoint was opened; open it again");
  TEPHRA_RETURN_IF_ERROR(opened.status());
  std::shared_ptr<const PackReader> reader = std::move(*opened);
  std::lock_guard lock(mutex_);
  if (packs_.size() >= kOpenPacks) packs_.clear();  // readers in use keep theirs alive
  packs_.emplace(name, reader);
  return reader;
}

}  // namespace tephra::storage
