#include "base/direct_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace tephra {
namespace {

constexpr size_t kBlockBytes = 1u << 20;
constexpr size_t kAlignment = 4096;  // of memory, offsets and lengths; enough for every disk that Linux knows

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte, Free>;

struct Block {
  Memory memory{static_cast<std::byte*>(std::aligned_alloc(kAlignment, kBlockBytes))};
  size_t used = 0;
  off_t offset = 0;  // in the file
};

bool refuses_direct(int error) { return error == EINVAL || error == EOPNOTSUPP; }

class DirectFile final : public WritableFile {
 public:
  DirectFile(int fd, std::string path, PositionalWrite write)
      : fd_(fd), path_(std::move(path)), write_(write), thread_([this] { run(); }) {}
  ~DirectFile() override {
    stop();
    if (fd_ >= 0) ::close(fd_);
  }

  Status append(std::span<const std::byte> bytes) override {
    flushed_ = false;
    while (!bytes.empty()) {
      if (filling_.memory == nullptr) TEPHRA_RETURN_IF_ERROR(next_block());
      const size_t part = std::min(bytes.size(), kBlockBytes - filling_.used);
      std::memcpy(filling_.memory.get() + filling_.used, bytes.data(), part);
      filling_.used += part;
      size_ += static_cast<off_t>(part);
      bytes = bytes.subspan(part);
      if (filling_.used == kBlockBytes) hand_over();
    }
    return error();
  }

  Status sync() override {
    TEPHRA_RETURN_IF_ERROR(flush());
    // Not retried: after a failed fsync the kernel may have dropped what it could not write.
    return ::fsync(fd_) == 0 ? ok_status() : keep(errno_status(errno, "fsync " + path_));
  }

  Status close() override {
    TEPHRA_RETURN_IF_ERROR(flush());
    stop();
    const int fd = std::exchange(fd_, -1);
    if (::close(fd) != 0 && errno != EINTR) return keep(errno_status(errno, "close " + path_));
    (void)keep(Status(Code::kIo, path_ + " is closed"));
    return ok_status();
  }

 private:
  Status error() {
    std::lock_guard lock(mutex_);
    return error_;
  }
  Status keep(Status status) {
    std::lock_guard lock(mutex_);
    if (error_.ok()) error_ = std::move(status);
    return error_;
  }

  // Hands all that was appended to the file system.
  Status flush() {
    TEPHRA_RETURN_IF_ERROR(drain());
    if (std::exchange(flushed_, true) || filling_.used == 0) return ok_status();
    // The tail, filled up with zeros that are cut off again. It stays to be filled: a later append goes on in it.
    const size_t whole = (filling_.used + kAlignment - 1) / kAlignment * kAlignment;
    std::memset(filling_.memory.get() + filling_.used, 0, whole - filling_.used);
    TEPHRA_RETURN_IF_ERROR(keep(write(filling_, whole)));
    return ::ftruncate(fd_, size_) == 0 ? ok_status() : keep(errno_status(errno, "truncate " + path_));
  }

  Status next_block() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !free_.empty() || made_ < kDirectBlocks || !error_.ok(); });
    TEPHRA_RETURN_IF_ERROR(error_);
    if (free_.empty()) {
      ++made_;
      filling_ = Block();
      if (filling_.memory == nullptr) throw std::bad_alloc();
    } else {
      filling_ = std::move(free_.back());
      free_.pop_back();
    }
    filling_.used = 0;
    filling_.offset = size_;
    return ok_status();
  }

  void hand_over() {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(filling_));
    filling_ = Block{nullptr};
    changed_.notify_all();
  }

  Status drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return (waiting_.empty() && !writing_) || !error_.ok(); });
    return error_;
  }

  void stop() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  Status write(const Block& block, size_t bytes) const {
    for (size_t done = 0; done < bytes;) {
      const ssize_t n = write_(fd_, block.memory.get() + done, bytes - done, block.offset + static_cast<off_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && refuses_direct(errno) && stop_direct()) continue;
      if (n < 0) return errno_status(errno, "write " + path_);
      if (n % static_cast<ssize_t>(kAlignment) != 0 && static_cast<size_t>(n) + done < bytes)
        return {Code::kNoSpace, "write " + path_ + ": the disk took a part of a block; it is full"};
      done += static_cast<size_t>(n);
    }
    return ok_status();
  }

  // From now on through the page cache. False: it was so already.
  bool stop_direct() const {
    const int flags = ::fcntl(fd_, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) != 0 && ::fcntl(fd_, F_SETFL, flags & ~O_DIRECT) == 0;
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return !waiting_.empty() || stopping_; });
      if (waiting_.empty()) return;
      Block block = std::move(waiting_.front());
      waiting_.pop_front();
      writing_ = true;
      const bool failed = !error_.ok();
      lock.unlock();
      Status status = failed ? ok_status() : write(block, kBlockBytes);
      lock.lock();
      writing_ = false;
      if (error_.ok() && !status.ok()) error_ = std::move(status);
      free_.push_back(std::move(block));
      changed_.notify_all();
    }
  }

  int fd_;
  const std::string path_;
  const PositionalWrite write_;
  off_t size_ = 0;  // appended so far
  Block filling_{nullptr};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Block> waiting_;
  std::vector<Block> free_;
  int made_ = 0;
  bool writing_ = false, stopping_ = false;
  bool flushed_ = true;  // of the appending thread
  Status error_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<WritableFile>> create_direct_file(const std::string& path, PositionalWrite write) {
  for (;;) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0644);
    if (fd >= 0) return std::unique_ptr<WritableFile>(std::make_unique<DirectFile>(fd, path, write));
    if (errno == EINTR) continue;
    if (!refuses_direct(errno)) return errno_status(errno, "create " + path);
    // Refused for O_DIRECT, after the file was made on some kernels.
    (void)::unlink(path.c_str());
    return Env::posix().create(path);
  }
}

}  // namespace tephra
