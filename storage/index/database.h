// The one place that knows RocksDB: column families, point reads, ordered scans and atomic batches over plain strings.
// Any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "storage/index/store.h"

namespace rocksdb {
class FileSystem;
}

namespace tephra::storage {

// The index's files go through it from the next open on; null: RocksDB's own. For tests that damage, fail or kill.
void set_index_file_system_for_tests(std::shared_ptr<rocksdb::FileSystem> file_system);

class Database {
 public:
  // kBusy (without saying by whom) when the folder is locked; kNotFound in kReadOnly when there is none.
  static Result<std::unique_ptr<Database>> open(const std::string& dir, OpenMode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Result<std::optional<std::string>> read(ColumnFamily cf, std::string_view key) const;
  // One per key, in order.
  Result<std::vector<std::optional<std::string>>> read_many(ColumnFamily cf,
                                                            const std::vector<std::string>& keys) const;
  Status scan(ColumnFamily cf, const std::string& prefix,
              const std::function<bool(std::string_view key, std::string_view value)>& callback,
              const std::string& start = "") const;
  // The last key with `prefix`, or nothing.
  Result<std::optional<std::string>> last_key(ColumnFamily cf, const std::string& prefix) const;
  // All or nothing. After a failed write of the log RocksDB refuses every later one.
  Status write(const std::vector<Put>& puts, bool sync);

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tephra::storage
