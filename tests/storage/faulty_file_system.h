// A rocksdb::FileSystem for tests that does to the index's files what FaultyEnv does to the store's own: the n-th change
// fails (any error, once or for good, with a torn write), and a power loss drops what was not synced. Any thread.
#pragma once

#include <rocksdb/file_system.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace tephra::storage {

class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  FaultyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FaultyFileSystem"; }

  // Change number `n` from now on (0: the next) fails with `status`; `sticky`: all later ones too; `tear`: a failing
  // append leaves half of its bytes. Changes: creating, appending, syncing, renaming, removing.
  void fail_nth(int64_t n, rocksdb::IOStatus status, bool sticky, bool tear);
  void disarm();
  bool fired() const;
  // Called before every change, in place of a failure; may end the process.
  void on_change(std::function<void()> call);
  // Power loss: cuts every file that was appended to down to what was synced. The database is closed before.
  void drop_unsynced();

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  friend class FaultyFile;
  rocksdb::IOStatus before_change(bool* torn = nullptr);

  mutable std::mutex mutex_;
  int64_t fail_at_ = -1;
  rocksdb::IOStatus status_;
  bool sticky_ = false, tear_ = false, fired_ = false;
  std::function<void()> on_change_;
  std::map<std::string, uint64_t> written_, synced_;
};

}  // namespace tephra::storage
