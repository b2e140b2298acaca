// Files, behind an interface, so that tests can inject what disks do: lost unsynced writes, torn writes, a full disk.
// Everything durable goes through here. Paths are plain strings. Every object is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra {

class WritableFile {
 public:
  virtual ~WritableFile() = default;  // releases; does not sync
  virtual Status append(std::span<const std::byte> bytes) = 0;
  // Makes the file's bytes durable. After a failed sync the file is abandoned: every later call fails with the first error.
  virtual Status sync() = 0;
  virtual Status close() = 0;
};

class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual uint64_t size_bytes() const = 0;
  // Fills all of `out` from `offset`, or fails: kCorruption when the file ends first. Safe from several threads at once.
  virtual Status read_at(uint64_t offset, std::span<std::byte> out) const = 0;
};

class Env {
 public:
  virtual ~Env() = default;
  virtual Result<std::unique_ptr<WritableFile>> create(const std::string& path) = 0;  // kAlreadyExists if there is one
  // The same for a large file that nobody will read soon: base/direct_file.h on a disk; create() elsewhere.
  virtual Result<std::unique_ptr<WritableFile>> create_large(const std::string& path) { return create(path); }
  virtual Result<std::unique_ptr<ReadableFile>> open(const std::string& path) = 0;
  virtual Status make_directories(const std::string& path) = 0;
  virtual Status sync_directory(const std::string& path) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;  // replaces `to` atomically
  virtual Status remove(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> list(const std::string& directory) = 0;  // names, sorted
  virtual bool exists(const std::string& path) = 0;
  virtual Result<uint64_t> free_bytes(const std::string& path) = 0;

  static Env& posix();
};

Result<std::string> read_file(Env& env, const std::string& path);
// All or nothing: a temporary file beside `path`, synced, renamed over it, and the folder synced.
Status write_file_atomic(Env& env, const std::string& path, std::string_view bytes);

}  // namespace tephra
