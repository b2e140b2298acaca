#include "storage/index/database.h"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>

#include "base/log.h"

namespace tephra::storage {
namespace {

constexpr std::array<const char*, 7> kNames = {"checkpoints", "chunks", "tags", "jobs", "events", "leases", "meta"};

// RocksDB's warnings go to our log; without this it writes and rotates LOG files in the owner's folder even when
// read-only.
class LogForwarder : public rocksdb::Logger {
 public:
  LogForwarder() : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  void Logv(const char* format, va_list args) override {
    char line[512];
    if (!enabled) return;
    int n = std::vsnprintf(line, sizeof line, format, args);
    if (n > 0 && static_cast<size_t>(n) < sizeof line && line[n - 1] == '\n') line[n - 1] = '\0';
    log::warning("index", {{"rocksdb", line}});
  }
  using rocksdb::Logger::Logv;
  // Off while opening: what goes wrong then is returned, and a new folder is warned about for being new.
  std::atomic<bool> enabled{false};
};

// Where a RocksDB status becomes ours.
Status from_rocksdb(const rocksdb::Status& status, const std::string& what) {
  if (status.ok()) return ok_status();
  const std::string message = what + ": " + status.ToString();
  if (status.IsNoSpace()) return {Code::kNoSpace, message + "; free some space and resume"};
  if (status.IsCorruption()) return {Code::kCorruption, message};
  if (status.IsBusy() || status.IsTryAgain()) return {Code::kBusy, message};
  if (status.IsNotFound()) return {Code::kNotFound, message};
  if (status.IsNotSupported()) return {Code::kPermission, message};  // a write to a read-only handle
  if (message.find("Permission denied") != std::string::npos ||
      message.find("Read-only file system") != std::string::npos)
    return {Code::kPermission, message};
  return {Code::kIo, message};
}

// Another process: "While lock file: .../LOCK: Resource temporarily unavailable"; this one: "lock hold by current
// process".
bool is_lock_failure(const rocksdb::Status& status) {
  std::string text = status.ToString();
  return status.IsIOError() &&
         (text.find("lock file") != std::string::npos || text.find("lock hold") != std::string::npos);
}

rocksdb::Options make_options(OpenMode mode, std::shared_ptr<LogForwarder> logger) {
  rocksdb::Options options;
  options.create_if_missing = options.create_missing_column_families = mode == OpenMode::kReadWrite;
  options.paranoid_checks = true;
  options.write_buffer_size = 8u << 20;
  // Opening reads the log again: of the families' buffers it would grow to a quarter of a GB.
  options.max_total_wal_size = 32u << 20;
  options.compression = rocksdb::kNoCompression;  // hashes do not compress, the rest is small
  options.info_log = std::move(logger);
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.max_background_jobs = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_manifest_file_size = 4u << 20;
  // A commit asks for each of its chunks, most of which are new: filters say so without reading tables.
  rocksdb::BlockBasedTableOptions tables;
  tables.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  tables.block_cache = rocksdb::NewLRUCache(32u << 20);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(tables));
  return options;
}

bool has_prefix(const rocksdb::Slice& key, const std::string& prefix) { return key.starts_with(prefix); }

}  // namespace

namespace {
std::shared_ptr<rocksdb::FileSystem>& file_system_for_tests() {
  static std::shared_ptr<rocksdb::FileSystem> file_system;
  return file_system;
}
}  // namespace

void set_index_file_system_for_tests(std::shared_ptr<rocksdb::FileSystem> file_system) {
  file_system_for_tests() = std::move(file_system);
}

struct Database::Impl {
  std::unique_ptr<rocksdb::Env> env;  // of a test's file system; outlives db
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;  // ours, in the order of ColumnFamily after "default"
  std::string dir;

  ~Impl() {
    for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
    if (db) (void)db->Close();
  }
  rocksdb::ColumnFamilyHandle* of(ColumnFamily cf) const { return handles.at(1 + static_cast<size_t>(cf)); }
};

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::~Database() = default;

Result<std::unique_ptr<Database>> Database::open(const std::string& dir, OpenMode mode) {
  auto logger = std::make_shared<LogForwarder>();
  rocksdb::Options options = make_options(mode, logger);
  auto impl = std::make_unique<Impl>();
  impl->dir = dir;
  if (file_system_for_tests()) {
    impl->env = rocksdb::NewCompositeEnv(file_system_for_tests());
    options.env = impl->env.get();
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> families{
      {rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions(options)}};
  for (const char* name : kNames) families.emplace_back(name, rocksdb::ColumnFamilyOptions(options));
  rocksdb::DB* db = nullptr;
  rocksdb::Status status;
  if (mode == OpenMode::kReadWrite) {
    status = rocksdb::DB::Open(options, dir, families, &impl->handles, &db);
  } else {
    if (!rocksdb::Env::Default()->FileExists(dir + "/CURRENT").ok())
      return Status(Code::kNotFound, "no index in " + dir);
    // The owner may replace files between our reading of its manifest and our opening of them; then the next try sees
    // the new ones.
    for (int attempt = 0; attempt < 3; ++attempt) {
      status = rocksdb::DB::OpenForReadOnly(options, dir, families, &impl->handles, &db);
      if (status.ok()) break;
    }
  }
  if (is_lock_failure(status)) return Status(Code::kBusy, dir + " is locked");
  if (!status.ok()) return from_rocksdb(status, "open index " + dir);
  impl->db.reset(db);
  logger->enabled = true;
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

Result<std::optional<std::string>> Database::read(ColumnFamily cf, std::string_view key) const {
  std::string value;
  rocksdb::Status status = impl_->db->Get({}, impl_->of(cf), rocksdb::Slice(key.data(), key.size()), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return from_rocksdb(status, "read index " + impl_->dir);
  return std::optional<std::string>(std::move(value));
}

Result<std::vector<std::optional<std::string>>> Database::read_many(ColumnFamily cf,
                                                                    const std::vector<std::string>& keys) const {
  std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  std::vector<rocksdb::ColumnFamilyHandle*> families(keys.size(), impl_->of(cf));
  std::vector<std::string> values;
  std::vector<rocksdb::Status> statuses = impl_->db->MultiGet({}, families, slices, &values);
  std::vector<std::optional<std::string>> out(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].IsNotFound()) continue;
    if (!statuses[i].ok()) return from_rocksdb(statuses[i], "read index " + impl_->dir);
    out[i] = std::move(values[i]);
  }
  return out;
}

Status Database::scan(ColumnFamily cf, const std::string& prefix,
                      const std::function<bool(std::string_view key, std::string_view value)>& callback,
                      const std::string& start) const {
  std::unique_ptr<rocksdb::Iterator> it(impl_->db->NewIterator({}, impl_->of(cf)));
  for (it->Seek(std::max(prefix, start)); it->Valid() && has_prefix(it->key(), prefix); it->Next()) {
    if (!callback({it->key().data(), it->key().size()}, {it->value().data(), it->value().size()})) break;
  }
  return from_rocksdb(it->status(), "scan index " + impl_->dir);
}

Result<std::optional<std::string>> Database::last_key(ColumnFamily cf, const std::string& prefix) const {
  std::unique_ptr<rocksdb::Iterator> it(impl_->db->NewIterator({}, impl_->of(cf)));
  it->SeekForPrev(prefix + '\xff');  // our keys are ASCII after their prefixes
  std::optional<std::string> key;
  if (it->Valid() && has_prefix(it->key(), prefix)) key = it->key().ToString();
  TEPHRA_RETURN_IF_ERROR(from_rocksdb(it->status(), "scan index " + impl_->dir));
  return key;
}

Status Database::write(const std::vector<Put>& puts, bool sync) {
  rocksdb::WriteBatch batch;
  for (const Put& put : puts) {
    rocksdb::Status status =
        put.erase ? batch.Delete(impl_->of(put.cf), put.key) : batch.Put(impl_->of(put.cf), put.key, put.value);
    if (!status.ok()) return from_rocksdb(status, "write index " + impl_->dir);
  }
  rocksdb::WriteOptions options;
  options.sync = sync;
  return from_rocksdb(impl_->db->Write(options, &batch), "write index " + impl_->dir);
}

}  // namespace tephra::storage
