// Failures of the world (disk, network, peer, corrupt bytes) as values. What the user typed wrong is a Diagnostic
// (base/diagnostic.h); what we did wrong is a TEPHRA_CHECK (base/check.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace tephra {

enum class Code {
  kOk,
  kInvalidArgument,  // bad input by the user or the caller's data
  kNotFound,
  kAlreadyExists,
  kCorruption,  // bytes that fail their checksum, a truncated file, an impossible value
  kIo,          // any other failed system call on a file
  kNoSpace,     // disk or quota full
  kPermission,
  kBusy,      // owned by another process
  kPeerLost,  // a rank or connection went away
  kTimeout,   // a deadline passed
  kMismatch,  // two ranks are in different collectives, or a hand-over check failed
  kCancelled,
  kUnavailable,  // connection refused, no mpirun, too few slots
  kUnsupported,  // understood, and not something this build does
  kInternal,
};

// Who acts on a failure. Set where an errno, MPI code or RocksDB status becomes a Status, because only there is it known.
enum class RetryClass {
  kRetryHere,      // the same call again, bounded, with back-off
  kNewAttempt,     // the coordinator restarts the gang from the last commit
  kNeedsOperator,  // the job pauses and says what to do
  kPermanent,      // the job fails
};

std::string_view code_name(Code code);
RetryClass default_retry_class(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : Status(code, default_retry_class(code), std::move(message)) {}
  Status(Code code, RetryClass retry, std::string message) : code_(code), retry_(retry), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  RetryClass retry_class() const { return retry_; }
  // One sentence with cause, place and, where there is one, the remedy.
  const std::string& message() const { return message_; }
  std::string to_string() const;
  // The same failure with `where: ` put before the message.
  Status with_context(std::string_view where) const;

 private:
  Code code_ = Code::kOk;
  RetryClass retry_ = RetryClass::kPermanent;
  std::string message_;
};

inline Status ok_status() { return {}; }
// The Status of a failed system call: `what` names the call and the path.
Status errno_status(int error_number, std::string_view what);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) { TEPHRA_CHECK(!status_.ok(), "Result made from an ok Status"); }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return checked(); }
  const T& value() const& { return const_cast<Result*>(this)->checked(); }
  T&& value() && { return std::move(checked()); }
  T& operator*() & { return checked(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(checked()); }
  T* operator->() { return &checked(); }
  const T* operator->() const { return &const_cast<Result*>(this)->checked(); }

 private:
  T& checked() {
    TEPHRA_CHECK(value_.has_value(), "value() of a failed Result: " + status_.to_string());
    return *value_;
  }
  std::optional<T> value_;
  Status status_;
};

}  // namespace tephra

#define TEPHRA_CONCAT_INNER(a, b) a##b
#define TEPHRA_CONCAT(a, b) TEPHRA_CONCAT_INNER(a, b)

#define TEPHRA_RETURN_IF_ERROR(expr)                                                        \
  do {                                                                                      \
    if (::tephra::Status tephra_status = (expr); !tephra_status.ok()) return tephra_status; \
  } while (0)

// TEPHRA_ASSIGN_OR_RETURN(auto x, f()): x = *f(), or return f()'s Status.
#define TEPHRA_ASSIGN_OR_RETURN(lhs, expr) \
  TEPHRA_ASSIGN_OR_RETURN_IMPL(TEPHRA_CONCAT(tephra_result_, __LINE__), lhs, expr)
#define TEPHRA_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = std::move(tmp).value()
