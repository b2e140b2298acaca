#include "storage/pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

namespace tephra::storage {
namespace {

// docs/store-format.md, "Pack file". All integers little-endian.
static_assert(std::endian::native == std::endian::little, "packs are written with plain stores");
constexpr uint64_t kAlignment = 64;
constexpr uint32_t kVersion = 2;
constexpr size_t kReadBytes = 2 * kBlockBytes;  // by one call
constexpr char kHeaderMagic[9] = "TEPHRAPK";
constexpr char kTrailerMagic[9] = "TEPHRAND";

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t header_bytes;  // 64
  uint32_t alignment;     // 64
  uint32_t reserved[11];  // zero
};
static_assert(sizeof(Header) == 64);

struct FooterEntry {
  uint64_t hash_high, hash_low, length, offset;
};
static_assert(sizeof(FooterEntry) == 32);

struct Trailer {
  uint64_t footer_offset;
  uint64_t entry_count;
  uint64_t file_bytes;
  uint64_t checksum_high, checksum_low;  // XXH3-128 of the header, the footer and the trailer's first 24 bytes
  uint64_t reserved[2];                  // zero
  char magic[8];
};
static_assert(sizeof(Trailer) == 64);

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

Header make_header() {
  Header header{};
  std::memcpy(header.magic, kHeaderMagic, 8);
  header.version = kVersion;
  header.header_bytes = sizeof(Header);
  header.alignment = kAlignment;
  return header;
}

Hash128 footer_checksum(const Header& header, std::span<const FooterEntry> entries, std::span<const Hash128> blocks,
                        const Trailer& trailer) {
  Hasher hasher;
  hasher.update(bytes_of(header));
  hasher.update(std::as_bytes(entries));
  hasher.update(std::as_bytes(blocks));
  hasher.update(bytes_of(trailer).first(24));
  return hasher.digest();
}

std::string partial_path(const std::string& packs_dir, const std::string& pack) {
  return packs_dir + "/" + pack + ".partial";
}

}  // namespace

std::string pack_prefix(const std::string& job, int64_t attempt) { return job + "+a" + std::to_string(attempt) + "+"; }

std::string pack_name(const std::string& job, int64_t attempt, const std::string& stage, int64_t step, int rank) {
  return pack_prefix(job, attempt) + stage + "+s" + std::to_string(step) + "+r" + std::to_string(rank);
}

int rank_of_pack(const std::string& pack) {
  const size_t mark = pack.rfind("+r");
  if (mark == std::string::npos) return -1;
  int rank = -1;
  const char* end = pack.data() + pack.size();
  const auto read = std::from_chars(pack.data() + mark + 2, end, rank);
  return read.ec == std::errc() && read.ptr == end ? rank : -1;
}

std::string pack_path(const std::string& packs_dir, const std::string& pack) {
  return packs_dir + "/" + pack + ".pack";
}

PackWriter::PackWriter(Env& env, std::string packs_dir, std::string pack_name)
    : env_(env), packs_dir_(std::move(packs_dir)), partial_path_(partial_path(packs_dir_, pack_name)) {
  summary_.pack = std::move(pack_name);
}

PackWriter::~PackWriter() {
  if (sealed_ || !file_) return;
  file_.reset();
  (void)env_.remove(partial_path_);  // best effort; gc removes what stays
}

Result<std::unique_ptr<PackWriter>> PackWriter::create(Env& env, const std::string& packs_dir,
                                                       const std::string& pack_name) {
  if (pack_name.empty() || pack_name.size() > 240 || pack_name.front() == '.' ||
      pack_name.find('/') != std::string::npos)
    return Status(Code::kInvalidArgument, "'" + pack_name + "' cannot be a pack's name");
  if (env.exists(pack_path(packs_dir, pack_name)))
    return Status(Code::kAlreadyExists, "pack " + pack_path(packs_dir, pack_name) + " is already there, sealed");
  std::unique_ptr<PackWriter> writer(new PackWriter(env, packs_dir, pack_name));
  if (env.exists(writer->partial_path_)) TEPHRA_RETURN_IF_ERROR(env.remove(writer->partial_path_));
  TEPHRA_ASSIGN_OR_RETURN(writer->file_, env.create_large(writer->partial_path_));
  Header header = make_header();
  TEPHRA_RETURN_IF_ERROR(writer->append(bytes_of(header)));
  return writer;
}

Status PackWriter::append(std::span<const std::byte> bytes) {
  TEPHRA_RETURN_IF_ERROR(error_);
  error_ = file_->append(bytes);
  offset_ += bytes.size();
  return error_;
}

Status PackWriter::pad_to_alignment() {
  static constexpr std::array<std::byte, kAlignment> kZeros{};
  uint64_t excess = offset_ % kAlignment;
  return excess == 0 ? ok_status() : append(std::span(kZeros).first(kAlignment - excess));
}

Result<ChunkRef> PackWriter::add(std::span<const std::byte> bytes) {
  TEPHRA_CHECK(!bytes.empty() && bytes.size() <= kChunkBytesMax && !sealed_,
               "a chunk is 1 byte to 4 MiB, of an open pack");
  TEPHRA_RETURN_IF_ERROR(error_);
  const std::vector<Hash128> blocks = hash_blocks(bytes);
  const ChunkRef chunk = chunk_of_blocks(blocks, bytes.size());
  if (offsets_.contains(chunk)) return chunk;
  // Aligned before, not after: the last chunk's padding is then the footer's.
  TEPHRA_RETURN_IF_ERROR(pad_to_alignment());
  uint64_t offset = offset_;
  TEPHRA_RETURN_IF_ERROR(append(bytes));
  offsets_.emplace(chunk, offset);
  summary_.chunks.emplace_back(chunk, offset);
  if (blocks.size() > 1) blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
  return chunk;
}

Status PackWriter::seal() {
  TEPHRA_RETURN_IF_ERROR(pad_to_alignment());
  std::vector<FooterEntry> entries;
  entries.reserve(summary_.chunks.size());
  for (const auto& [chunk, offset] : summary_.chunks)
    entries.push_back({chunk.hash.high, chunk.hash.low, chunk.length, offset});
  Trailer trailer{};
  trailer.footer_offset = offset_;
  trailer.entry_count = entries.size();
  trailer.file_bytes =
      offset_ + entries.size() * sizeof(FooterEntry) + blocks_.size() * sizeof(Hash128) + sizeof(Trailer);
  Hash128 checksum = footer_checksum(make_header(), entries, blocks_, trailer);
  trailer.checksum_high = checksum.high;
  trailer.checksum_low = checksum.low;
  std::memcpy(trailer.magic, kTrailerMagic, 8);
  if (!entries.empty()) TEPHRA_RETURN_IF_ERROR(append(std::as_bytes(std::span(entries))));
  if (!blocks_.empty()) TEPHRA_RETURN_IF_ERROR(append(std::as_bytes(std::span(blocks_))));
  TEPHRA_RETURN_IF_ERROR(append(bytes_of(trailer)));
  // Bytes first, then the name, then the folder: a crash in between leaves a .partial file, which nobody reads, or a
  // whole pack.
  TEPHRA_RETURN_IF_ERROR(file_->sync());
  TEPHRA_RETURN_IF_ERROR(file_->close());
  TEPHRA_RETURN_IF_ERROR(env_.rename(partial_path_, pack_path(packs_dir_, summary_.pack)));
  sealed_ = true;  // from here the file is not ours to remove: its name is taken
  return env_.sync_directory(packs_dir_);
}

Result<PackSummary> PackWriter::finish() {
  TEPHRA_CHECK(!sealed_, "finish() twice");
  TEPHRA_RETURN_IF_ERROR(error_);
  error_ = seal();
  TEPHRA_RETURN_IF_ERROR(error_);
  summary_.size_bytes = offset_;
  return summary_;
}

Result<std::unique_ptr<PackReader>> PackReader::open(Env& env, const std::string& packs_dir,
                                                     const std::string& pack_name) {
  std::unique_ptr<PackReader> reader(new PackReader);
  std::string path = pack_path(packs_dir, pack_name);
  TEPHRA_ASSIGN_OR_RETURN(reader->file_, env.open(path));
  reader->path_ = path;
  reader->summary_.pack = pack_name;
  reader->summary_.size_bytes = reader->file_->size_bytes();
  TEPHRA_RETURN_IF_ERROR(reader->load(path));
  return reader;
}

Status PackReader::load(const std::string& path) {
  auto corrupt = [&](const std::string& what) { return Status(Code::kCorruption, "pack " + path + ": " + what); };
  const uint64_t size = file_->size_bytes();
  if (size < sizeof(Header) + sizeof(Trailer))
    return corrupt("only " + std::to_string(size) + " bytes, shorter than an empty pack");
  Header header;
  TEPHRA_RETURN_IF_ERROR(file_->read_at(0, std::as_writable_bytes(std::span(&header, 1))));
  if (std::memcmp(header.magic, kHeaderMagic, 8) != 0) return corrupt("does not start with TEPHRAPK; it is not a pack");
  if (header.version != kVersion)
    return {Code::kUnsupported, "pack " + path + " has version " + std::to_string(header.version) +
                                    " and this build reads version " + std::to_string(kVersion)};
  Trailer trailer;
  TEPHRA_RETURN_IF_ERROR(file_->read_at(size - sizeof(Trailer), std::as_writable_bytes(std::span(&trailer, 1))));
  if (std::memcmp(trailer.magic, kTrailerMagic, 8) != 0)
    return corrupt("no trailer at its end; the file was cut short or overwritten");
  if (trailer.file_bytes != size)
    return corrupt("is " + std::to_string(size) + " bytes long and was sealed at " +
                   std::to_string(trailer.file_bytes));
  const uint64_t footer_bytes = size - sizeof(Trailer) - trailer.footer_offset;
  const uint64_t entry_bytes = trailer.entry_count * sizeof(FooterEntry);
  if (trailer.footer_offset < sizeof(Header) || trailer.footer_offset > size - sizeof(Trailer) ||
      trailer.entry_count > footer_bytes / sizeof(FooterEntry) || (footer_bytes - entry_bytes) % sizeof(Hash128) != 0)
    return corrupt("its trailer places the footer outside the file");
  std::vector<FooterEntry> entries(trailer.entry_count);
  std::vector<Hash128> blocks((footer_bytes - entry_bytes) / sizeof(Hash128));
  TEPHRA_RETURN_IF_ERROR(file_->read_at(trailer.footer_offset, std::as_writable_bytes(std::span(entries))));
  TEPHRA_RETURN_IF_ERROR(
      file_->read_at(trailer.footer_offset + entry_bytes, std::as_writable_bytes(std::span(blocks))));
  if (footer_checksum(header, entries, blocks, trailer) != Hash128{trailer.checksum_high, trailer.checksum_low})
    return corrupt("its footer fails its checksum");
  summary_.chunks.reserve(entries.size());
  for (const FooterEntry& entry : entries)
    summary_.chunks.push_back({{{entry.hash_high, entry.hash_low}, entry.length}, entry.offset});
  return index_chunks(blocks, trailer.footer_offset) ? ok_status() : corrupt("its footer does not fit the file");
}

bool PackReader::index_chunks(std::span<const Hash128> blocks, uint64_t footer_offset) {
  first_blocks_.reserve(summary_.chunks.size());
  uint64_t end = sizeof(Header);  // of the chunk before
  for (const auto& [chunk, offset] : summary_.chunks) {
    if (chunk.length == 0 || chunk.length > kChunkBytesMax || offset < end || offset > footer_offset ||
        chunk.length > footer_offset - offset)
      return false;
    end = offset + chunk.length;
    first_blocks_.push_back(blocks_.size());
    const uint64_t count = block_count(chunk.length);
    if (count == 1) {  // its block's hash is its own
      blocks_.push_back(chunk.hash);
      continue;
    }
    if (count > blocks.size() || chunk_of_blocks(blocks.first(count), chunk.length) != chunk) return false;
    blocks_.insert(blocks_.end(), blocks.begin(), blocks.begin() + static_cast<std::ptrdiff_t>(count));
    blocks = blocks.subspan(count);
  }
  return blocks.empty();
}

std::string PackReader::describe(const ChunkRef& chunk, uint64_t offset) const {
  return "chunk " + chunk.hash.hex() + " (" + std::to_string(chunk.length) + " bytes at " + std::to_string(offset) +
         ") of pack " + path_;
}

Result<std::span<const Hash128>> PackReader::blocks(const ChunkRef& chunk, uint64_t offset) const {
  const auto it = std::lower_bound(summary_.chunks.begin(), summary_.chunks.end(), offset,
                                   [](const auto& entry, uint64_t at) { return entry.second < at; });
  if (it == summary_.chunks.end() || *it != std::pair(chunk, offset))
    return Status(Code::kCorruption, describe(chunk, offset) + " is not what the pack's footer has there");
  const size_t first = first_blocks_[static_cast<size_t>(it - summary_.chunks.begin())];
  return std::span(blocks_).subspan(first, block_count(chunk.length));
}

Status PackReader::read_chunk(const ChunkRef& chunk, uint64_t offset, std::span<std::byte> out) const {
  TEPHRA_CHECK(out.size() == chunk.length, "a chunk is read whole");
  return read_blocks(chunk, offset, 0, out);
}

Status PackReader::read_blocks(const ChunkRef& chunk, uint64_t offset, uint64_t begin, std::span<std::byte> out) const {
  TEPHRA_CHECK(begin % kBlockBytes == 0 && begin + out.size() <= chunk.length &&
                   (begin + out.size() == chunk.length || out.size() % kBlockBytes == 0),
               "blocks are read whole");
  TEPHRA_ASSIGN_OR_RETURN(const auto hashes, blocks(chunk, offset));
  // Few at a time, so that they are hashed while they are in the core's own cache.
  while (!out.empty()) {
    auto part = out.first(std::min<size_t>(kReadBytes, out.size()));
    Status read = file_->read_at(offset + begin, part);
    if (!read.ok()) return read.with_context(describe(chunk, offset));
    const std::vector<Hash128> got = hash_blocks(part);
    if (!std::equal(got.begin(), got.end(), hashes.begin() + static_cast<std::ptrdiff_t>(begin / kBlockBytes)))
      return {Code::kCorruption, describe(chunk, offset) + " fails its checksum; the bytes on disk changed"};
    out = out.subspan(part.size());
    begin += part.size();
  }
  return ok_status();
}

}  // namespace tephra::storage
