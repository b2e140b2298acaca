#include "coordinator/tokens.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "base/log.h"
#include "cluster/http/http_text.h"
#include "coordinator/crypto.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::string_view kPrefix = "tephra_";
constexpr size_t kIdDigits = 8, kSecretBytes = 32, kSaltBytes = 16, kNameMax = 64, kTokensMax = 10000;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kNameMax &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@") ==
             std::string::npos;
}

Result<std::vector<TokenRecord>> parse(const std::string& path, const std::string& text) {
  const json document = json::parse(text, nullptr, false);
  const auto bad = [&path](const std::string& what) { return Status(Code::kCorruption, path + ": " + what); };
  if (!document.is_object() || !document.contains("version") || !document.contains("tokens") ||
      !document["tokens"].is_array())
    return bad("this is no tokens file; restore it, or remove it and make tokens anew");
  if (document["version"] != kVersion)
    return Status(Code::kUnsupported, path + ": its version is not " + std::to_string(kVersion));
  std::vector<TokenRecord> records;
  for (const json& row : document["tokens"]) {
    TokenRecord record;
    try {
      record.id = row.at("id").get<std::string>();
      record.name = row.at("name").get<std::string>();
      record.salt = row.at("salt").get<std::string>();
      record.hash = row.at("sha256").get<std::string>();
      record.created_unix_ms = row.at("created_unix_ms").get<int64_t>();
      TEPHRA_ASSIGN_OR_RETURN(record.role, parse_role(row.at("role").get<std::string>()));
    } catch (const json::exception& error) {
      return bad("token " + std::to_string(records.size() + 1) + ": " + error.what());
    }
    records.push_back(std::move(record));
  }
  return records;
}

Status write(const std::string& path, const std::vector<TokenRecord>& records) {
  json rows = json::array();
  for (const TokenRecord& record : records)
    rows.push_back({{"id", record.id},
                    {"name", record.name},
                    {"role", role_name(record.role)},
                    {"salt", record.salt},
                    {"sha256", record.hash},
                    {"created_unix_ms", record.created_unix_ms}});
  const std::string text = json{{"version", kVersion}, {"tokens", rows}}.dump(1) + "\n";
  // Beside the file and renamed over it: a reader finds the old one or the new one. Made with its mode, so that it is at
  // no time readable by others.
  const std::string fresh = path + ".new";
  (void)::unlink(fresh.c_str());
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno_status(errno, "creating " + fresh);
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  const int code = errno;
  ::close(fd);
  if (!written) return errno_status(code, "writing " + fresh);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return errno_status(errno, "renaming " + fresh);
  return ok_status();
}

// Held while the file is read, changed and replaced.
class FileLock {
 public:
  static Result<FileLock> take(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return errno_status(errno, "opening " + path);
    FileLock lock(fd);
    if (::flock(fd, LOCK_EX) != 0) return errno_status(errno, "locking " + path);
    return lock;
  }
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

std::string id_of(const std::string& token) {
  return token.starts_with(kPrefix) && token.size() > kPrefix.size() + kIdDigits
             ? token.substr(kPrefix.size(), kIdDigits)
             : std::string();
}

}  // namespace

std::string random_token() { return random_hex(16); }

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kNone: return "none";
    case Role::kViewer: return "viewer";
    case Role::kSubmitter: return "submitter";
    case Role::kAdmin: return "admin";
  }
  return "?";
}

Result<Role> parse_role(const std::string& text) {
  for (const Role role : {Role::kViewer, Role::kSubmitter, Role::kAdmin})
    if (text == role_name(role)) return role;
  return Status(Code::kInvalidArgument, "'" + text + "' is no role; there are viewer, submitter and admin");
}

std::string tokens_path(const std::string& store_dir) { return store_dir + "/tokens"; }

Result<std::vector<TokenRecord>> read_tokens(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    return errno == ENOENT ? Result<std::vector<TokenRecord>>(std::vector<TokenRecord>{})
                           : errno_status(errno, "reading " + path);
  if ((info.st_mode & 077) != 0)
    return Status(Code::kPermission, path +
                                         " may be read or written by others; chmod 600 it, and revoke its tokens if "
                                         "others had it");
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  return parse(path, text);
}

Result<NewToken> create_token(const std::string& path, const std::string& name, Role role, int64_t now_unix_ms) {
  if (!is_name(name))
    return Status(Code::kInvalidArgument, "'" + name +
                                              "' is no name for a token; use 1 to 64 letters, digits, '.', '_', '-' or "
                                              "'@'");
  TEPHRA_ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(path + ".lock"));
  TEPHRA_ASSIGN_OR_RETURN(std::vector<TokenRecord> records, read_tokens(path));
  if (records.size() >= kTokensMax)
    return Status(Code::kInvalidArgument, path + " holds " + std::to_string(kTokensMax) + " tokens; revoke some");
  TokenRecord record;
  do {
    record.id = random_hex(kIdDigits / 2);
  } while (std::any_of(records.begin(), records.end(), [&](const TokenRecord& r) { return r.id == record.id; }));
  record.name = name;
  record.role = role;
  record.salt = random_hex(kSaltBytes);
  record.created_unix_ms = now_unix_ms;
  const std::string token = std::string(kPrefix) + record.id + "_" + random_hex(kSecretBytes);
  record.hash = sha256_hex(record.salt + token);
  const std::string id = record.id;
  records.push_back(std::move(record));
  TEPHRA_RETURN_IF_ERROR(write(path, records));
  return NewToken{id, token};
}

Status revoke_token(const std::string& path, const std::string& id) {
  TEPHRA_ASSIGN_OR_RETURN(const FileLock lock, FileLock::take(path + ".lock"));
  TEPHRA_ASSIGN_OR_RETURN(std::vector<TokenRecord> records, read_tokens(path));
  if (std::erase_if(records, [&](const TokenRecord& record) { return record.id == id; }) == 0)
    return {Code::kNotFound, path + " holds no token with the id '" + id + "'; see tephra token ls"};
  return write(path, records);
}

void TokenCheck::refresh() const {
  if (path_.empty()) return;
  struct stat info {};
  Stamp stamp;
  if (::stat(path_.c_str(), &info) == 0)
    stamp = {info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_size, static_cast<uint64_t>(info.st_ino)};
  if (stamp == stamp_) return;
  stamp_ = stamp;
  Result<std::vector<TokenRecord>> read = read_tokens(path_);
  broken_ = !read.ok();
  // A file that is not understood lets nobody in: it must not turn the tokens off.
  if (broken_) log::error("the tokens file cannot be used", {{"reason", read.status().message()}});
  records_ = broken_ ? std::vector<TokenRecord>{} : std::move(read).value();
}

bool TokenCheck::required() const {
  if (!admin_token_.empty()) return true;
  std::lock_guard lock(mutex_);
  refresh();
  return broken_ || stamp_.size >= 0;  // a file without tokens, too: revoking the last one must not open the door
}

std::optional<Identity> TokenCheck::find(const std::string& token) const {
  if (!admin_token_.empty() && cluster::equal_constant_time(token, admin_token_))
    return Identity{"admin", "", Role::kAdmin};
  std::lock_guard lock(mutex_);
  refresh();
  const std::string id = id_of(token);  // no secret: it only says which hash to compare with
  for (const TokenRecord& record : records_)
    if (record.id == id && cluster::equal_constant_time(sha256_hex(record.salt + token), record.hash))
      return Identity{record.name, record.id, record.role};
  return std::nullopt;
}

}  // namespace tephra::coordinator
