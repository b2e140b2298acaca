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
constexpr uint32_t kVersion = 1;
constexpr size_t kReadBytes = 64u << 10;
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
  uint64_t checksum_high,
      checksum_low;      // XXH3-128 of the header, the footer's entries and the trailer's first 24 bytes
  uint64_t reserved[2];  // zero
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

Hash128 footer_checksum(const Header& header, std::span<const FooterEntry> entries, const Trailer& trailer) {
  Hasher hasher;
  hasher.update(bytes_of(header));
  hasher.update(std::as_bytes(entries));
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
  ChunkRef chunk{hash_bytes(bytes), bytes.size()};
  if (offsets_.contains(chunk)) return chunk;
  // Aligned before, not after: the last chunk's padding is then the footer's.
  TEPHRA_RETURN_IF_ERROR(pad_to_alignment());
  uint64_t offset = offset_;
  TEPHRA_RETURN_IF_ERROR(append(bytes));
  offsets_.emplace(chunk, offset);
  summary_.chunks.emplace_back(chunk, offset);
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
  trailer.file_bytes = offset_ + entries.size() * sizeof(FooterEntry) + sizeof(Trailer);
  Hash128 checksum = footer_checksum(make_header(), entries, trailer);
  trailer.checksum_high = checksum.high;
  trailer.checksum_low = checksum.low;
  std::memcpy(trailer.magic, kTrailerMagic, 8);
  if (!entries.empty()) TEPHRA_RETURN_IF_ERROR(append(std::as_bytes(std::span(entries))));
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
  const uint64_t table_bytes = size - sizeof(Trailer);  // end of the footer
  if (trailer.footer_offset < sizeof(Header) || trailer.footer_offset > table_bytes ||
      trailer.entry_count != (table_bytes - trailer.footer_offset) / sizeof(FooterEntry) ||
      (table_bytes - trailer.footer_offset) % sizeof(FooterEntry) != 0)
    return corrupt("its trailer places the footer outside the file");
  std::vector<FooterEntry> entries(trailer.entry_count);
  TEPHRA_RETURN_IF_ERROR(file_->read_at(trailer.footer_offset, std::as_writable_bytes(std::span(entries))));
  if (footer_checksum(header, entries, trailer) != Hash128{trailer.checksum_high, trailer.checksum_low})
    return corrupt("its footer fails its checksum");
  summary_.chunks.reserve(entries.size());
  for (const FooterEntry& entry : entries) {
    if (entry.length == 0 || entry.length > kChunkBytesMax || entry.offset > trailer.footer_offset ||
        entry.length > trailer.footer_offset - entry.offset)
      return corrupt("its footer names a chunk outside the file");
    summary_.chunks.push_back({{{entry.hash_high, entry.hash_low}, entry.length}, entry.offset});
  }
  return ok_status();
}

Status PackReader::read_chunk(const ChunkRef& chunk, uint64_t offset, std::span<std::byte> out) const {
  TEPHRA_CHECK(out.size() == chunk.length, "a chunk is read whole");
  auto name = [&] {
    return "chunk " + chunk.hash.hex() + " (" + std::to_string(chunk.length) + " bytes at " + std::to_string(offset) +
           ") of pack " + path_;
  };
  if (offset > file_->size_bytes() || chunk.length > file_->size_bytes() - offset)
    return {Code::kCorruption, name() + " lies outside the file"};
  // Hashed while the bytes are in the core's own cache.
  Hasher hasher;
  for (size_t at = 0; at < out.size(); at += kReadBytes) {
    const auto part = out.subspan(at, std::min(kReadBytes, out.size() - at));
    TEPHRA_RETURN_IF_ERROR(file_->read_at(offset + at, part).with_context(name()));
    hasher.update(part);
  }
  if (hasher.digest() != chunk.hash)
    return {Code::kCorruption, name() + " fails its checksum; the bytes on disk changed"};
  return ok_status();
}

}  // namespace tephra::storage
