#include "base/env.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/direct_file.h"

namespace tephra {
namespace {

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// open(2), again when a signal interrupts it (slow file systems).
Result<Fd> open_fd(const std::string& path, int flags, const char* what) {
  for (;;) {
    int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (fd >= 0) return Fd(fd);
    if (errno != EINTR) return errno_status(errno, std::string(what) + " " + path);
  }
}

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Status append(std::span<const std::byte> bytes) override {
    TEPHRA_RETURN_IF_ERROR(error_);
    while (!bytes.empty()) {
      // Linux writes at most 0x7ffff000 bytes a call; short writes also come from signals and nearly full disks.
      ssize_t n = ::write(fd_.get(), bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail("write");
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return ok_status();
  }

  Status sync() override {
    TEPHRA_RETURN_IF_ERROR(error_);
    // Not retried: after a failed fsync the kernel marks the lost pages clean, and a second call would claim success.
    return ::fsync(fd_.get()) == 0 ? ok_status() : fail("fsync");
  }

  Status close() override {
    TEPHRA_RETURN_IF_ERROR(error_);
    int fd = fd_.release();
    if (fd < 0) return ok_status();
    // The descriptor is gone even when close is interrupted, so EINTR is success here.
    if (::close(fd) != 0 && errno != EINTR) return fail("close");
    error_ = Status(Code::kIo, path_ + " is closed");
    return ok_status();
  }

 private:
  Status fail(const char* call) {
    error_ = errno_status(errno, std::string(call) + " " + path_);
    return error_;
  }

  Fd fd_;
  std::string path_;
  Status error_;
};

class PosixReadableFile : public ReadableFile {
 public:
  PosixReadableFile(Fd fd, std::string path, uint64_t size_bytes)
      : fd_(std::move(fd)), path_(std::move(path)), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }

  Status read_at(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      ssize_t n =
          ::pread(fd_.get(), out.data(), std::min<size_t>(out.size(), size_t{1} << 30), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_status(errno, "read " + path_);
      if (n == 0)
        return {Code::kCorruption, path_ + " ends at byte " + std::to_string(offset) + ", " +
                                       std::to_string(out.size()) + " bytes short of what was to be read"};
      offset += static_cast<uint64_t>(n);
      out = out.subspan(static_cast<size_t>(n));
    }
    return ok_status();
  }

 private:
  Fd fd_;
  std::string path_;
  uint64_t size_bytes_;
};

class PosixEnv : public Env {
 public:
  Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
    TEPHRA_ASSIGN_OR_RETURN(Fd fd, open_fd(path, O_WRONLY | O_CREAT | O_EXCL, "create"));
    return std::unique_ptr<WritableFile>(std::make_unique<PosixWritableFile>(std::move(fd), path));
  }

  Result<std::unique_ptr<WritableFile>> create_large(const std::string& path) override {
    return create_direct_file(path);
  }

  Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override {
    // Without waiting: a pipe that somebody left among the files would otherwise hold the thread until it has a writer.
    TEPHRA_ASSIGN_OR_RETURN(Fd fd, open_fd(path, O_RDONLY | O_NONBLOCK, "open"));
    struct stat info;
    if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "stat " + path);
    if (!S_ISREG(info.st_mode)) return Status(Code::kInvalidArgument, path + " is not a regular file");
    return std::unique_ptr<ReadableFile>(
        std::make_unique<PosixReadableFile>(std::move(fd), path, static_cast<uint64_t>(info.st_size)));
  }

  Status make_directories(const std::string& path) override {
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      std::string part = path.substr(0, end);
      if (::mkdir(part.c_str(), 0755) != 0) {
        int error = errno;  // a parent may be unwritable or read-only and yet be there: only what is missing matters
        struct stat info;
        if (::stat(part.c_str(), &info) != 0) return errno_status(error, "make folder " + part);
        if (!S_ISDIR(info.st_mode)) return {Code::kAlreadyExists, "make folder " + path + ": " + part + " is a file"};
      }
      if (end == std::string::npos) return ok_status();
    }
  }

  Status sync_directory(const std::string& path) override {
    TEPHRA_ASSIGN_OR_RETURN(Fd fd, open_fd(path, O_RDONLY | O_DIRECTORY, "open folder"));
    return ::fsync(fd.get()) == 0 ? ok_status() : errno_status(errno, "fsync folder " + path);
  }

  Status rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str()) == 0 ? ok_status() : errno_status(errno, "rename " + from + " to " + to);
  }

  Status remove(const std::string& path) override {
    return ::unlink(path.c_str()) == 0 ? ok_status() : errno_status(errno, "remove " + path);
  }

  Result<std::vector<std::string>> list(const std::string& directory) override {
    std::unique_ptr<DIR, int (*)(DIR*)> handle(::opendir(directory.c_str()), ::closedir);
    if (!handle) return errno_status(errno, "list folder " + directory);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(handle.get())) {
      std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(std::move(name));
    }
    if (errno != 0) return errno_status(errno, "list folder " + directory);
    std::sort(names.begin(), names.end());
    return names;
  }

  bool exists(const std::string& path) override { return ::access(path.c_str(), F_OK) == 0; }

  Result<uint64_t> free_bytes(const std::string& path) override {
    struct statvfs info;
    if (::statvfs(path.c_str(), &info) != 0) return errno_status(errno, "free space of " + path);
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }
};

std::string parent_directory(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status write_and_sync(Env& env, const std::string& path, std::string_view bytes) {
  TEPHRA_ASSIGN_OR_RETURN(auto file, env.create(path));
  TEPHRA_RETURN_IF_ERROR(file->append(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  TEPHRA_RETURN_IF_ERROR(file->sync());
  return file->close();
}

}  // namespace

Env& Env::posix() {
  static PosixEnv env;
  return env;
}

Result<std::string> read_file(Env& env, const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(auto file, env.open(path));
  std::string bytes(file->size_bytes(), '\0');
  TEPHRA_RETURN_IF_ERROR(file->read_at(0, std::as_writable_bytes(std::span(bytes.data(), bytes.size()))));
  return bytes;
}

Status write_file_atomic(Env& env, const std::string& path, std::string_view bytes) {
  // The process id keeps two processes from sharing a temporary file; one that a killed process left is replaced.
  std::string temporary = path + ".tmp." + std::to_string(::getpid());
  if (env.exists(temporary)) TEPHRA_RETURN_IF_ERROR(env.remove(temporary));
  // The bytes are synced before the rename: otherwise a crash could leave the new name on an empty file. The folder is
  // synced after it: otherwise a crash could bring the old file back after the caller was told that the new one is
  // there.
  Status status = write_and_sync(env, temporary, bytes);
  if (status.ok()) status = env.rename(temporary, path);
  if (!status.ok()) {
    (void)env.remove(temporary);  // best effort: the first error is the one to report
    return status;
  }
  return env.sync_directory(parent_directory(path));
}

}  // namespace tephra
