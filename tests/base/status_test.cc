// Status and Result carry code, retry class and message unchanged through context and macros; errno values map to codes
// once.
#include "base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace tephra {
namespace {

TEST(Status, DefaultIsOk) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(ok_status().to_string(), "ok");
  EXPECT_TRUE(ok_status().with_context("here").ok());
}

TEST(Status, KeepsCodeAndRetryClassUnderContext) {
  Status status(Code::kIo, RetryClass::kNeedsOperator, "the disk is gone");
  Status outer = status.with_context("pack a").with_context("job 7");
  EXPECT_EQ(outer.code(), Code::kIo);
  EXPECT_EQ(outer.retry_class(), RetryClass::kNeedsOperator);
  EXPECT_EQ(outer.message(), "job 7: pack a: the disk is gone");
  EXPECT_EQ(outer.to_string(), "input/output error: job 7: pack a: the disk is gone");
}

TEST(Status, RetryClassFollowsTheCode) {
  EXPECT_EQ(Status(Code::kPeerLost, "").retry_class(), RetryClass::kNewAttempt);
  EXPECT_EQ(Status(Code::kBusy, "").retry_class(), RetryClass::kRetryHere);
  EXPECT_EQ(Status(Code::kNoSpace, "").retry_class(), RetryClass::kNeedsOperator);
  EXPECT_EQ(Status(Code::kCorruption, "").retry_class(), RetryClass::kPermanent);
}

TEST(Status, TranslatesErrno) {
  EXPECT_EQ(errno_status(ENOENT, "open /x").code(), Code::kNotFound);
  EXPECT_EQ(errno_status(EEXIST, "").code(), Code::kAlreadyExists);
  EXPECT_EQ(errno_status(ENOSPC, "").code(), Code::kNoSpace);
  EXPECT_EQ(errno_status(EACCES, "").code(), Code::kPermission);
  EXPECT_EQ(errno_status(ECONNREFUSED, "").code(), Code::kUnavailable);
  EXPECT_EQ(errno_status(EIO, "").code(), Code::kIo);
  EXPECT_EQ(errno_status(ENOENT, "open /x").message(), "open /x: No such file or directory");
}

TEST(Status, EveryCodeHasAName) {
  for (int code = 0; code <= static_cast<int>(Code::kInternal); ++code)
    EXPECT_NE(code_name(static_cast<Code>(code)), "unknown") << code;
}

Result<int> half(int n) {
  if (n % 2 != 0) return Status(Code::kInvalidArgument, std::to_string(n) + " is odd");
  return n / 2;
}
Result<int> quarter(int n) {
  TEPHRA_ASSIGN_OR_RETURN(int h, half(n));
  TEPHRA_ASSIGN_OR_RETURN(int q, half(h));
  return q;
}
Status check_quarter(int n) {
  TEPHRA_RETURN_IF_ERROR(quarter(n).status());
  return ok_status();
}

TEST(Result, MacrosPassOnTheFirstError) {
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(6).status().message(), "3 is odd");
  EXPECT_TRUE(check_quarter(8).ok());
  EXPECT_EQ(check_quarter(5).code(), Code::kInvalidArgument);
}

TEST(Result, HoldsMoveOnlyValues) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(4));
  std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 4);
}

TEST(ResultDeathTest, ValueOfAFailureAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH((void)half(3).value(), "3 is odd");
}

TEST(CheckDeathTest, PrintsWordsAndContext) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        set_check_context("rank 1 step 40");
        TEPHRA_CHECK(1 + 1 == 3, "sums");
      },
      "check failed: 1 \\+ 1 == 3: sums \\[rank 1 step 40\\]");
}

}  // namespace
}  // namespace tephra
