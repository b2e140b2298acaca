// Who changed or was refused what: one JSON line a request, in STORE/audit.jsonl (mode 0600; at 64 MiB it becomes
// audit.jsonl.1, whose predecessor goes). Lines hold no header, query or body, so no token. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/status.h"

namespace tephra::coordinator {

struct AuditLine {
  int64_t unix_ms = 0;
  std::string who;       // a token's name; empty: nobody that is known
  std::string token_id;  // empty: none of the tokens file
  std::string role;
  std::string from;  // numeric address of the peer
  std::string method;
  std::string path;
  std::string action;  // the operation's id; empty: no such address
  int status = 0;
};

class AuditLog {
 public:
  static Result<std::unique_ptr<AuditLog>> open(const std::string& path, size_t bytes_max = 64u << 20);
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  void write(const AuditLine& line);  // a failure goes to the program's log

 private:
  AuditLog(std::string path, size_t bytes_max) : path_(std::move(path)), bytes_max_(bytes_max) {}
  Status reopen();

  const std::string path_;
  const size_t bytes_max_;
  std::mutex mutex_;
  int fd_ = -1;
  size_t bytes_ = 0;
};

}  // namespace tephra::coordinator
