#include "storage/manifest.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace tephra::storage {
namespace {

Status bad_tensor(const ManifestTensor& tensor, const std::string& what) {
  return {Code::kInvalidArgument,
          "tensor " + tensor.name + " (" + std::string(state_kind_name(tensor.kind)) + "): " + what};
}

// Bytes of the whole tensor, or nothing when the product of the dims does not fit.
bool shape_fits(const Shape& shape, DType dtype) {
  int64_t bytes = size_bytes(dtype);
  for (int64_t dim : shape) {
    if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes)) return false;
  }
  return true;
}

Status validate_piece(const ManifestTensor& tensor, const Piece& piece, int64_t expected_begin) {
  const int64_t total = numel(tensor.shape);
  const uint64_t element = static_cast<uint64_t>(size_bytes(tensor.dtype));
  if (piece.begin > expected_begin)
    return bad_tensor(tensor, "elements " + std::to_string(expected_begin) + " to " + std::to_string(piece.begin) +
                                  " are in no piece");
  if (piece.begin < expected_begin)
    return bad_tensor(tensor, "element " + std::to_string(piece.begin) + " is in two pieces");
  if (piece.count <= 0 || piece.count > total - piece.begin)
    return bad_tensor(tensor, "the piece at element " + std::to_string(piece.begin) + " ends outside shape " +
                                  to_string(tensor.shape));
  if (piece.chunk.length == 0 || piece.chunk.length > kChunkBytesMax || piece.offset_in_chunk > piece.chunk.length ||
      static_cast<uint64_t>(piece.count) > (piece.chunk.length - piece.offset_in_chunk) / element)
    return bad_tensor(tensor, "the piece at element " + std::to_string(piece.begin) + " is not inside its chunk of " +
                                  std::to_string(piece.chunk.length) + " bytes");
  return ok_status();
}

}  // namespace

std::string_view state_kind_name(StateKind kind) {
  switch (kind) {
    case StateKind::kParameter: return "parameter";
    case StateKind::kFirstMoment: return "first_moment";
    case StateKind::kSecondMoment: return "second_moment";
  }
  return "unknown";
}

std::string checkpoint_name(const std::string& job, const std::string& stage, int64_t step) {
  return job + "/" + stage + "@" + std::to_string(step);
}

std::string Manifest::name() const { return checkpoint_name(job, stage, step); }

const ManifestTensor* Manifest::find(const std::string& tensor, StateKind kind) const {
  auto key = std::tie(tensor, kind);
  auto it = std::lower_bound(tensors.begin(), tensors.end(), key,
                             [](const ManifestTensor& t, const auto& k) { return std::tie(t.name, t.kind) < k; });
  return it != tensors.end() && it->name == tensor && it->kind == kind ? &*it : nullptr;
}

Status check_name(std::string_view what, std::string_view word) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (word.empty() || word.size() > 128 || word.front() == '.' ||
      word.find_first_not_of(kAllowed) != std::string_view::npos)
    return {Code::kInvalidArgument, std::string(what) + " '" + std::string(word) +
                                        "' must be 1 to 128 letters, digits, '.', '_' or '-' and not start with '.'"};
  return ok_status();
}

Status validate_tensor(const ManifestTensor& tensor) {
  if (tensor.name.empty()) return {Code::kInvalidArgument, "a tensor has no name"};
  if (!shape_fits(tensor.shape, tensor.dtype)) return bad_tensor(tensor, "impossible shape " + to_string(tensor.shape));
  int64_t next = 0;
  for (const Piece& piece : tensor.pieces) {
    TEPHRA_RETURN_IF_ERROR(validate_piece(tensor, piece, next));
    next += piece.count;
  }
  if (next != numel(tensor.shape))
    return bad_tensor(
        tensor, "elements " + std::to_string(next) + " to " + std::to_string(numel(tensor.shape)) + " are in no piece");
  return ok_status();
}

Status validate(const Manifest& manifest) {
  TEPHRA_RETURN_IF_ERROR(check_name("job", manifest.job));
  TEPHRA_RETURN_IF_ERROR(check_name("stage", manifest.stage));
  if (manifest.step < 0 || manifest.attempt < 0)
    return {Code::kInvalidArgument, manifest.name() + ": step and attempt must not be negative"};
  const ManifestTensor* previous = nullptr;
  for (const ManifestTensor& tensor : manifest.tensors) {
    TEPHRA_RETURN_IF_ERROR(validate_tensor(tensor).with_context(manifest.name()));
    if (previous && std::tie(previous->name, previous->kind) >= std::tie(tensor.name, tensor.kind))
      return bad_tensor(tensor, "listed twice or out of order").with_context(manifest.name());
    previous = &tensor;
  }
  return ok_status();
}

ContentHasher::ContentHasher() { hasher_.update(std::string_view("tephra tensor 3\n")); }

void ContentHasher::add(std::span<const Hash128> blocks) { hasher_.update(std::as_bytes(blocks)); }

Hash128 content_hash_of(const std::vector<ManifestTensor>& tensors) {
  std::vector<const ManifestTensor*> sorted;
  for (const ManifestTensor& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return std::tie(a->name, a->kind) < std::tie(b->name, b->kind); });
  // Text, so that the domain can be written down and hashed again by anything; a name's length keeps two lists from
  // reading alike.
  Hasher hasher;
  hasher.update(std::string_view("tephra content 3\n"));
  for (const ManifestTensor* tensor : sorted) {
    hasher.update(std::to_string(tensor->name.size()) + " " + tensor->name + " " +
                  std::string(state_kind_name(tensor->kind)) + " " + std::string(dtype_name(tensor->dtype)) + " " +
                  to_string(tensor->shape) + " " + tensor->content.hex() + "\n");
  }
  return hasher.digest();
}

const ChunkLocation* LocatedManifest::find(const ChunkRef& chunk) const {
  auto it = std::lower_bound(chunks.begin(), chunks.end(), chunk,
                             [](const auto& entry, const ChunkRef& c) { return entry.first < c; });
  return it != chunks.end() && it->first == chunk ? &it->second : nullptr;
}

}  // namespace tephra::storage
