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
    Status status =
        read_chunk(it->chunk, it->offset_in_chunk + static_cast<uint64_t>((begin - it->begin) * element), to);
    if (!status.ok())
      return status.with_context("tensor " + tensor.name + " of checkpoint " + located_.manifest.name());
    out += n * element;
    begin += n;
  }
  return ok_status();
}

Status CheckpointReader::read_chunk(const ChunkRef& chunk, uint64_t begin, std::span<std::byte> out) const {
  while (!out.empty()) {
    const uint64_t in_block = begin % kBlockBytes, end = begin + out.size();
    const uint64_t whole_end = end == chunk.length ? end : end - end % kBlockBytes;
    uint64_t part = 0;
    if (in_block == 0 && whole_end > begin) {  // whole blocks: to their place without a copy
      part = whole_end - begin;
      TEPHRA_ASSIGN_OR_RETURN(const auto found, place(chunk));
      TEPHRA_RETURN_IF_ERROR(found.pack->read_blocks(chunk, found.offset, begin, out.first(part)));
    } else {
      TEPHRA_ASSIGN_OR_RETURN(const Bytes bytes, block(chunk, begin - in_block));
      part = std::min<uint64_t>(out.size(), bytes->size() - in_block);
      std::memcpy(out.data(), bytes->data() + in_block, part);
    }
    begin += part;
    out = out.subspan(part);
  }
  return ok_status();
}

Result<CheckpointReader::Found> CheckpointReader::place(const ChunkRef& ref) const {
  const ChunkLocation* location = located_.find(ref);
  if (!location) return Status(Code::kCorruption, "chunk " + ref.hash.hex() + " has no known place");
  TEPHRA_ASSIGN_OR_RETURN(auto reader, pack(location->pack));
  return Found{std::move(reader), location->offset};
}

Result<CheckpointReader::Bytes> CheckpointReader::block(const ChunkRef& ref, uint64_t begin) const {
  {
    std::lock_guard lock(mutex_);
    auto it = std::find_if(blocks_.begin(), blocks_.end(),
                           [&](const CachedBlock& cached) { return cached.begin == begin && cached.chunk == ref; });
    if (it != blocks_.end()) {
      blocks_.splice(blocks_.begin(), blocks_, it);
      return it->bytes;
    }
  }
  TEPHRA_ASSIGN_OR_RETURN(const Found found, place(ref));
  auto bytes = std::make_shared<std::vector<std::byte>>(std::min(kBlockBytes, ref.length - begin));
  TEPHRA_RETURN_IF_ERROR(found.pack->read_blocks(ref, found.offset, begin, *bytes));
  // Two threads may have read the same block meanwhile; both copies are good and one is soon evicted.
  std::lock_guard lock(mutex_);
  blocks_.push_front({ref, begin, bytes});
  if (blocks_.size() > kCachedBlocks) blocks_.pop_back();
  return Bytes(bytes);
}

Result<Hash128> CheckpointReader::content_of(const ManifestTensor& tensor) const {
  const uint64_t element = static_cast<uint64_t>(size_bytes(tensor.dtype)), total = tensor.logical_bytes();
  ContentHasher content;
  std::vector<std::byte> shared(kBlockBytes);
  auto piece = tensor.pieces.begin();
  for (uint64_t at = 0; at < total;) {  // bytes of the tensor; the start of a block
    const auto end_of = [&](const Piece& p) { return static_cast<uint64_t>(p.begin + p.count) * element; };
    while (end_of(*piece) <= at) ++piece;
    const uint64_t in_chunk = piece->offset_in_chunk + at - static_cast<uint64_t>(piece->begin) * element;
    const uint64_t length = std::min(kBlockBytes, total - at), there = end_of(*piece) - at;
    if (in_chunk % kBlockBytes == 0 && there >= length &&
        std::min(kBlockBytes, piece->chunk.length - in_chunk) == length) {
      // This block of the tensor is one of the chunk's, and so are the next ones.
      TEPHRA_ASSIGN_OR_RETURN(const auto found, place(piece->chunk));
      TEPHRA_ASSIGN_OR_RETURN(const auto hashes, found.pack->blocks(piece->chunk, found.offset));
      const uint64_t count = std::max<uint64_t>(1, there / kBlockBytes);
      content.add(hashes.subspan(in_chunk / kBlockBytes, count));
      at += count * length;
      continue;
    }
    const auto bytes = std::span(shared).first(length);
    TEPHRA_RETURN_IF_ERROR(
        read_range(tensor, static_cast<int64_t>(at / element), static_cast<int64_t>(length / element), bytes.data()));
    content.add(hash_blocks(bytes));
    at += length;
  }
  return content.digest();
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
