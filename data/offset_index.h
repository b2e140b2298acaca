// Where the samples of a file begin, kept beside it.
//
// FILE.tephra-index, little-endian: 8 bytes "TPHIDX01"; the file's size and its time of change in nanoseconds, 8 bytes each; the number of
// entries, 8; entries of 16 bytes: offset and line (or member), 8 each; the XXH3 of all before it, 16. Rejected: a database (nothing is ever
// changed or looked up by key), and deltas (no random access).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::data {

// A file in memory as far as it is looked at. Any thread.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);  // kNotFound, kIo
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();
  std::string_view bytes() const { return {data_, size_}; }
  // From here on pieces are read in no order: what lies around one is not read with it.
  void expect_random() const;
  // These bytes are read next: in one go, rather than page by page as they are met. Past the end is nothing.
  void will_read(uint64_t offset, uint64_t size) const;
  int64_t changed_ns() const { return changed_ns_; }

 private:
  MappedFile() = default;
  const char* data_ = nullptr;
  size_t size_ = 0;
  int64_t changed_ns_ = 0;
};

struct IndexEntry {
  uint64_t offset = 0;
  uint64_t line = 0;
};

class OffsetIndex {
 public:
  // Of the file that `data` maps: what is kept beside it, else what `build` finds, which is then kept there if it can be.
  static Result<OffsetIndex> open(const std::string& path, const MappedFile& data,
                                  const std::function<Result<std::vector<IndexEntry>>()>& build);
  uint64_t size() const { return size_; }
  IndexEntry at(uint64_t i) const;  // i < size()
  // Bytes from the beginning of entry `i` to that of the next, or to the end of the data, which has `data_size`.
  uint64_t size_of(uint64_t i, uint64_t data_size) const {
    return (i + 1 < size_ ? at(i + 1).offset : data_size) - at(i).offset;
  }

 private:
  OffsetIndex() = default;
  uint64_t size_ = 0;
  std::shared_ptr<const MappedFile> kept_;  // or
  std::vector<IndexEntry> made_;
};

}  // namespace tephra::data
