#include "base/faulty_env.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace tephra {
namespace {
std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}
}  // namespace

class FaultyWritableFile : public WritableFile {
 public:
  FaultyWritableFile(FaultyEnv& env, std::string path, std::unique_ptr<WritableFile> file, int64_t generation)
      : env_(env), path_(std::move(path)), file_(std::move(file)), generation_(generation) {}

  Status append(std::span<const std::byte> bytes) override {
    size_t allowed = bytes.size();
    Status fault = check();
    if (fault.ok()) {
      fault = env_.before_append(path_, bytes.size(), &allowed);
    } else {
      allowed = env_.tears() ? bytes.size() / 2 : 0;
    }
    if (allowed > 0 && error_.ok()) {
      TEPHRA_RETURN_IF_ERROR(file_->append(bytes.first(allowed)));
      std::lock_guard lock(env_.mutex_);
      env_.written_[path_] += allowed;
    }
    return fail(fault);
  }

  Status sync() override {
    TEPHRA_RETURN_IF_ERROR(fail(check()));
    TEPHRA_RETURN_IF_ERROR(fail(file_->sync()));
    std::lock_guard lock(env_.mutex_);
    env_.synced_[path_] = env_.written_[path_];
    return ok_status();
  }

  Status close() override {
    TEPHRA_RETURN_IF_ERROR(fail(check()));
    return fail(file_->close());
  }

 private:
  Status check() {
    TEPHRA_RETURN_IF_ERROR(error_);
    {
      std::lock_guard lock(env_.mutex_);
      if (generation_ != env_.generation_) return Status(Code::kIo, path_ + ": opened before the crash");
    }
    return env_.before_operation(false);
  }
  Status fail(const Status& status) {
    if (!status.ok() && error_.ok()) error_ = status;
    return error_;
  }

  FaultyEnv& env_;
  std::string path_;
  std::unique_ptr<WritableFile> file_;
  int64_t generation_;
  Status error_;
};

class FaultyReadableFile : public ReadableFile {
 public:
  FaultyReadableFile(FaultyEnv& env, std::unique_ptr<ReadableFile> file) : env_(env), file_(std::move(file)) {}
  uint64_t size_bytes() const override { return file_->size_bytes(); }
  Status read_at(uint64_t offset, std::span<std::byte> out) const override {
    TEPHRA_RETURN_IF_ERROR(env_.before_operation(true));
    return file_->read_at(offset, out);
  }

 private:
  FaultyEnv& env_;
  std::unique_ptr<ReadableFile> file_;
};

void FaultyEnv::fail_nth(int64_t n, Fault fault, bool count_reads) {
  std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
  fail_at_ = n;
  count_reads_ = count_reads;
  fired_ = false;
  operations_ = 0;
}

void FaultyEnv::disarm() { fail_nth(-1, {}); }

bool FaultyEnv::fired() const {
  std::lock_guard lock(mutex_);
  return fired_;
}

int64_t FaultyEnv::operation_count() const {
  std::lock_guard lock(mutex_);
  return operations_;
}

void FaultyEnv::set_space_bytes(std::optional<uint64_t> bytes) {
  std::lock_guard lock(mutex_);
  space_bytes_ = bytes;
}

Status FaultyEnv::before_operation(bool is_read) {
  std::lock_guard lock(mutex_);
  if (is_read && !count_reads_) return ok_status();
  int64_t index = operations_++;
  if (fail_at_ < 0 || index < fail_at_ || (index > fail_at_ && !fault_.sticky)) return ok_status();
  fired_ = true;
  return fault_.status;
}

bool FaultyEnv::tears() {
  std::lock_guard lock(mutex_);
  return fault_.tear && fired_ && operations_ == fail_at_ + 1;
}

Status FaultyEnv::before_append(const std::string& path, size_t wanted, size_t* allowed) {
  std::lock_guard lock(mutex_);
  if (!space_bytes_) return ok_status();
  *allowed = std::min<uint64_t>(wanted, *space_bytes_);
  *space_bytes_ -= *allowed;
  return *allowed == wanted ? ok_status() : errno_status(ENOSPC, "write " + path);
}

std::unique_ptr<WritableFile> FaultyEnv::created(const std::string& path, std::unique_ptr<WritableFile> file) {
  std::lock_guard lock(mutex_);
  written_[path] = synced_[path] = 0;
  undo_.push_back({Undo::Kind::kCreate, path, "", {}});
  return std::make_unique<FaultyWritableFile>(*this, path, std::move(file), generation_);
}

Result<std::unique_ptr<WritableFile>> FaultyEnv::create(const std::string& path) {
  TEPHRA_RETURN_IF_ERROR(before_operation(false));
  TEPHRA_ASSIGN_OR_RETURN(auto file, target_.create(path));
  return created(path, std::move(file));
}

Result<std::unique_ptr<WritableFile>> FaultyEnv::create_large(const std::string& path) {
  TEPHRA_RETURN_IF_ERROR(before_operation(false));
  TEPHRA_ASSIGN_OR_RETURN(auto file, target_.create_large(path));
  return created(path, std::move(file));
}

Result<std::unique_ptr<ReadableFile>> FaultyEnv::open(const std::string& path) {
  TEPHRA_RETURN_IF_ERROR(before_operation(true));
  TEPHRA_ASSIGN_OR_RETURN(auto file, target_.open(path));
  return std::unique_ptr<ReadableFile>(std::make_unique<FaultyReadableFile>(*this, std::move(file)));
}

Status FaultyEnv::make_directories(const std::string& path) {
  TEPHRA_RETURN_IF_ERROR(before_operation(false));
  return target_.make_directories(path);
}

Status FaultyEnv::sync_directory(const std::string& path) {
  TEPHRA_RETURN_IF_ERROR(before_operation(false));
  TEPHRA_RETURN_IF_ERROR(target_.sync_directory(path));
  std::lock_guard lock(mutex_);
  std::erase_if(undo_, [&](const Undo& change) { return folder_of(change.path) == path; });
  return ok_status();
}

Status FaultyEnv::rename(const std::string& from, const std::string& to) {
  TEPHRA_RETURN_IF_ERROR(before_operation(false));
  std::optional<std::string> overwritten;
  if (target_.exists(to)) {
    TEPHRA_ASSIGN_OR_RETURN(overwritten, read_file(target_, to));
  }
  TEPHRA_RETURN_IF_ERROR(target_.rename(from, to));
  std::lock_guard lock(mutex_);
  for (auto* sizes : {&written_, &synced_}) {
    auto node = sizes->extract(from);
    sizes->erase(to);
    if (node.empty()) continue;
    node.key() = to;
    sizes->insert(std::move(node));
  }
  undo_.push_back({Undo::Kind::kRename, to, from, std::move(overwritten)});
  return ok_status();
}

Status FaultyEnv::remove(const std::string& path) {
  TEPHRA_RETURN_IF_ERROR(before_operation(false));
  std::optional<std::string> bytes;
  if (target_.exists(path)) {
    TEPHRA_ASSIGN_OR_RETURN(bytes, read_file(target_, path));
  }
  TEPHRA_RETURN_IF_ERROR(target_.remove(path));
  std::lock_guard lock(mutex_);
  // What comes back after a crash is the file as it was synced.
  if (auto it = synced_.find(path); it != synced_.end()) bytes->resize(std::min<uint64_t>(bytes->size(), it->second));
  written_.erase(path);
  synced_.erase(path);
  undo_.push_back({Undo::Kind::kRemove, path, "", std::move(bytes)});
  return ok_status();
}

Result<std::vector<std::string>> FaultyEnv::list(const std::string& directory) {
  TEPHRA_RETURN_IF_ERROR(before_operation(true));
  return target_.list(directory);
}

bool FaultyEnv::exists(const std::string& path) { return target_.exists(path); }

Result<uint64_t> FaultyEnv::free_bytes(const std::string& path) {
  {
    std::lock_guard lock(mutex_);
    if (space_bytes_) return *space_bytes_;
  }
  return target_.free_bytes(path);
}

Status FaultyEnv::rewrite(const std::string& path, std::string_view bytes) {
  if (target_.exists(path)) TEPHRA_RETURN_IF_ERROR(target_.remove(path));
  TEPHRA_ASSIGN_OR_RETURN(auto file, target_.create(path));
  TEPHRA_RETURN_IF_ERROR(file->append(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  return file->close();
}

Status FaultyEnv::undo(const Undo& change) {
  switch (change.kind) {
    case Undo::Kind::kCreate: return target_.exists(change.path) ? target_.remove(change.path) : ok_status();
    case Undo::Kind::kRename: TEPHRA_RETURN_IF_ERROR(target_.rename(change.path, change.from)); break;
    case Undo::Kind::kRemove: break;
  }
  return change.overwritten ? rewrite(change.path, *change.overwritten) : ok_status();
}

Status FaultyEnv::crash(bool torn) {
  disarm();
  std::lock_guard lock(mutex_);
  ++generation_;
  for (const auto& [path, written] : written_) {
    uint64_t kept = torn ? synced_[path] + (written - synced_[path]) / 2 : synced_[path];
    if (kept == written || !target_.exists(path)) continue;
    TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(target_, path));
    TEPHRA_RETURN_IF_ERROR(rewrite(path, std::string_view(bytes).substr(0, kept)));
  }
  for (auto it = undo_.rbegin(); it != undo_.rend(); ++it) TEPHRA_RETURN_IF_ERROR(undo(*it));
  undo_.clear();
  written_.clear();
  synced_.clear();
  return ok_status();
}

Status FaultyEnv::flip_bit(const std::string& path, uint64_t offset, int bit) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(target_, path));
  if (offset >= bytes.size()) return {Code::kInvalidArgument, path + " has no byte " + std::to_string(offset)};
  bytes[offset] = static_cast<char>(bytes[offset] ^ (1 << bit));
  return rewrite(path, bytes);
}

Status FaultyEnv::truncate(const std::string& path, uint64_t size_bytes) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(target_, path));
  return rewrite(path, std::string_view(bytes).substr(0, size_bytes));
}

}  // namespace tephra
