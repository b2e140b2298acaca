#include "data/offset_index.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/hash.h"

namespace tephra::data {
namespace {

constexpr std::string_view kMagic = "TPHIDX01";
constexpr size_t kHeadBytes = 32, kEntryBytes = 16, kHashBytes = 16;

void put(std::string* out, uint64_t value) {
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>(value >> (8 * i) & 255));
}

uint64_t get(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::string hash_of(std::string_view bytes) {
  const Hash128 hash = hash_text(bytes);
  std::string out;
  put(&out, hash.high);
  put(&out, hash.low);
  return out;
}

std::string encode(const MappedFile& data, const std::vector<IndexEntry>& entries) {
  std::string out(kMagic);
  put(&out, data.bytes().size());
  put(&out, static_cast<uint64_t>(data.changed_ns()));
  put(&out, entries.size());
  for (const IndexEntry& e : entries) {
    put(&out, e.offset);
    put(&out, e.line);
  }
  return out + hash_of(out);
}

// Whether it is whole, and of this state of the data. Reads all of it once.
bool is_of(std::string_view index, const MappedFile& data) {
  if (index.size() < kHeadBytes + kHashBytes || !index.starts_with(kMagic)) return false;
  if (get(index, 8) != data.bytes().size() || get(index, 16) != static_cast<uint64_t>(data.changed_ns())) return false;
  const uint64_t entries = (index.size() - kHeadBytes - kHashBytes) / kEntryBytes;
  if (get(index, 24) != entries || index.size() != kHeadBytes + kHashBytes + entries * kEntryBytes) return false;
  return hash_of(index.substr(0, index.size() - kHashBytes)) == index.substr(index.size() - kHashBytes);
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);  // a pipe is refused and not waited for
  if (fd < 0) return errno_status(errno, "open " + path);
  struct stat info {};
  Status status;
  MappedFile out;
  if (::fstat(fd, &info) != 0) {
    status = errno_status(errno, "stat " + path);
  } else if (!S_ISREG(info.st_mode)) {
    status = Status(Code::kInvalidArgument, path + " is not a regular file");
  } else if (info.st_size > 0) {
    void* data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
      status = errno_status(errno, "map " + path);
    else
      out.data_ = static_cast<const char*>(data);
  }
  ::close(fd);
  if (!status.ok()) return status;
  out.size_ = static_cast<size_t>(info.st_size);
  out.changed_ns_ = int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
  return out;
}

// Advice only: a kernel that does not take it reads the same bytes.
void MappedFile::expect_random() const {
  if (size_ > 0) (void)::madvise(const_cast<char*>(data_), size_, MADV_RANDOM);
}

void MappedFile::will_read(uint64_t offset, uint64_t size) const {
  static const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  if (offset >= size_ || size > size_) return;
  const uint64_t begin = offset / page * page, end = std::min<uint64_t>(size_, offset + size);
  (void)::madvise(const_cast<char*>(data_) + begin, end - begin, MADV_WILLNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      changed_ns_(other.changed_ns_) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

Result<OffsetIndex> OffsetIndex::open(const std::string& path, const MappedFile& data,
                                      const std::function<Result<std::vector<IndexEntry>>()>& build) {
  const std::string kept_path = path + ".tephra-index";
  OffsetIndex out;
  const auto keep = [&]() -> bool {
    Result<MappedFile> kept = MappedFile::open(kept_path);
    if (!kept.ok() || !is_of(kept->bytes(), data)) return false;
    out.size_ = get(kept->bytes(), 24);
    out.kept_ = std::make_shared<const MappedFile>(std::move(kept).value());
    return true;
  };
  if (keep()) return out;
  TEPHRA_ASSIGN_OR_RETURN(std::vector<IndexEntry> entries, build());
  // A folder that cannot be written costs the next one the same time, and this one memory.
  if (write_file_atomic(Env::posix(), kept_path, encode(data, entries)).ok() && keep()) return out;
  out.size_ = entries.size();
  out.made_ = std::move(entries);
  return out;
}

IndexEntry OffsetIndex::at(uint64_t i) const {
  if (!kept_) return made_[i];
  const size_t at = kHeadBytes + kEntryBytes * i;
  return {get(kept_->bytes(), at), get(kept_->bytes(), at + 8)};
}

}  // namespace tephra::data
