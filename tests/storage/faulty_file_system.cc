#include "tests/storage/faulty_file_system.h"

#include <filesystem>

namespace tephra::storage {

class FaultyFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultyFile(FaultyFileSystem& system, std::string name, std::unique_ptr<rocksdb::FSWritableFile> target)
      : FSWritableFileOwnerWrapper(std::move(target)), system_(system), name_(std::move(name)) {}

  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           rocksdb::IODebugContext* debug) override {
    bool torn = false;
    rocksdb::IOStatus status = system_.before_change(&torn);
    const rocksdb::Slice part(data.data(), torn ? data.size() / 2 : data.size());
    if (!status.ok() && !torn) return status;
    const rocksdb::IOStatus appended = FSWritableFileOwnerWrapper::Append(part, options, debug);
    std::lock_guard lock(system_.mutex_);
    system_.written_[name_] += part.size();
    return status.ok() ? appended : status;
  }
  rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                           const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    const rocksdb::IOStatus status = system_.before_change();
    if (!status.ok()) return status;
    const rocksdb::IOStatus synced = FSWritableFileOwnerWrapper::Sync(options, debug);
    std::lock_guard lock(system_.mutex_);
    if (synced.ok()) system_.synced_[name_] = system_.written_[name_];
    return synced;
  }
  rocksdb::IOStatus Fsync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override {
    return Sync(options, debug);
  }

 private:
  FaultyFileSystem& system_;
  const std::string name_;
};

void FaultyFileSystem::fail_nth(int64_t n, rocksdb::IOStatus status, bool sticky, bool tear) {
  std::lock_guard lock(mutex_);
  fail_at_ = n;
  status_ = std::move(status);
  sticky_ = sticky, tear_ = tear, fired_ = false;
}

void FaultyFileSystem::disarm() {
  std::lock_guard lock(mutex_);
  fail_at_ = -1;
  sticky_ = false;
}

bool FaultyFileSystem::fired() const {
  std::lock_guard lock(mutex_);
  return fired_;
}

void FaultyFileSystem::on_change(std::function<void()> call) {
  std::lock_guard lock(mutex_);
  on_change_ = std::move(call);
}

rocksdb::IOStatus FaultyFileSystem::before_change(bool* torn) {
  std::lock_guard lock(mutex_);
  if (on_change_) on_change_();
  if (sticky_ && fired_ && fail_at_ < 0) return status_;
  if (fail_at_ < 0 || fail_at_-- > 0) return rocksdb::IOStatus::OK();
  fired_ = true;
  if (torn != nullptr) *torn = tear_;
  return status_;
}

void FaultyFileSystem::drop_unsynced() {
  std::lock_guard lock(mutex_);
  for (const auto& [name, written] : written_) {
    std::error_code gone;
    if (std::filesystem::file_size(name, gone) > synced_[name] && !gone)
      std::filesystem::resize_file(name, synced_[name]);
  }
  written_.clear();
  synced_.clear();
}

rocksdb::IOStatus FaultyFileSystem::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                                    rocksdb::IODebugContext* debug) {
  rocksdb::IOStatus status = before_change();
  if (!status.ok()) return status;
  std::unique_ptr<rocksdb::FSWritableFile> file;
  status = FileSystemWrapper::NewWritableFile(name, options, &file, debug);
  if (!status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    written_[name] = synced_[name] = 0;
  }
  *result = std::make_unique<FaultyFile>(*this, name, std::move(file));
  return status;
}

rocksdb::IOStatus FaultyFileSystem::RenameFile(const std::string& from, const std::string& to,
                                               const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) {
  rocksdb::IOStatus status = before_change();
  if (!status.ok()) return status;
  status = FileSystemWrapper::RenameFile(from, to, options, debug);
  std::lock_guard lock(mutex_);
  if (status.ok() && written_.contains(from)) {
    written_[to] = written_[from];
    synced_[to] = synced_[from];
    written_.erase(from);
    synced_.erase(from);
  }
  return status;
}

rocksdb::IOStatus FaultyFileSystem::DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                                               rocksdb::IODebugContext* debug) {
  const rocksdb::IOStatus status = before_change();
  if (!status.ok()) return status;
  {
    std::lock_guard lock(mutex_);
    written_.erase(name);
    synced_.erase(name);
  }
  return FileSystemWrapper::DeleteFile(name, options, debug);
}

}  // namespace tephra::storage
