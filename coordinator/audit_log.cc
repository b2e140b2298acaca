#include "coordinator/audit_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "coordinator/api_reply.h"

namespace tephra::coordinator {

Result<std::unique_ptr<AuditLog>> AuditLog::open(const std::string& path, size_t bytes_max) {
  std::unique_ptr<AuditLog> log(new AuditLog(path, bytes_max));
  TEPHRA_RETURN_IF_ERROR(log->reopen());
  return log;
}

AuditLog::~AuditLog() {
  if (fd_ >= 0) ::close(fd_);
}

Status AuditLog::reopen() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) return errno_status(errno, "opening the audit log " + path_);
  struct stat info {};
  bytes_ = ::fstat(fd_, &info) == 0 ? static_cast<size_t>(info.st_size) : 0;
  return ok_status();
}

void AuditLog::write(const AuditLine& line) {
  const std::string text = dump({{"unix_ms", line.unix_ms},
                                 {"who", line.who},
                                 {"token_id", line.token_id},
                                 {"role", line.role},
                                 {"from", line.from},
                                 {"method", line.method},
                                 {"path", line.path},
                                 {"action", line.action},
                                 {"status", line.status}}) +
                           "\n";
  std::lock_guard lock(mutex_);
  if (bytes_ + text.size() > bytes_max_) {
    (void)std::rename(path_.c_str(), (path_ + ".1").c_str());
    if (const Status opened = reopen(); !opened.ok())
      log::error("the audit log cannot be written", {{"reason", opened.message()}});
  }
  if (fd_ < 0 || ::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    log::error("the audit log cannot be written", {{"path", path_}});
  bytes_ += text.size();
}

}  // namespace tephra::coordinator
