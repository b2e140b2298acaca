#include "base/status.h"

#include <cerrno>
#include <cstring>

namespace tephra {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalidArgument: return "invalid argument";
    case Code::kNotFound: return "not found";
    case Code::kAlreadyExists: return "already exists";
    case Code::kCorruption: return "corruption";
    case Code::kIo: return "input/output error";
    case Code::kNoSpace: return "no space";
    case Code::kPermission: return "permission denied";
    case Code::kBusy: return "busy";
    case Code::kPeerLost: return "peer lost";
    case Code::kTimeout: return "timeout";
    case Code::kMismatch: return "mismatch";
    case Code::kCancelled: return "cancelled";
    case Code::kUnavailable: return "unavailable";
    case Code::kUnsupported: return "unsupported";
    case Code::kInternal: return "internal error";
  }
  return "unknown";
}

RetryClass default_retry_class(Code code) {
  switch (code) {
    case Code::kPeerLost:
    case Code::kTimeout:
    case Code::kIo: return RetryClass::kNewAttempt;
    case Code::kBusy:
    case Code::kUnavailable: return RetryClass::kRetryHere;
    case Code::kNoSpace:
    case Code::kPermission: return RetryClass::kNeedsOperator;
    default: return RetryClass::kPermanent;
  }
}

std::string Status::to_string() const { return ok() ? "ok" : std::string(code_name(code_)) + ": " + message_; }

Status Status::with_context(std::string_view where) const {
  return ok() ? *this : Status(code_, retry_, std::string(where) + ": " + message_);
}

Status errno_status(int error_number, std::string_view what) {
  std::string message = std::string(what) + ": " + std::strerror(error_number);
  switch (error_number) {
    case ENOENT: return {Code::kNotFound, message};
    case EEXIST: return {Code::kAlreadyExists, message};
    case ENOSPC:
    case EDQUOT: return {Code::kNoSpace, message + "; free some space and resume"};
    case EACCES:
    case EPERM:
    case EROFS: return {Code::kPermission, message};
    case ECONNREFUSED: return {Code::kUnavailable, message};
    case ECONNRESET:
    case EPIPE: return {Code::kPeerLost, message};
    case ETIMEDOUT: return {Code::kTimeout, message};
    default: return {Code::kIo, message};
  }
}

}  // namespace tephra
