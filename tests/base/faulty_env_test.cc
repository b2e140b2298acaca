// The injector itself: each fault happens when armed, and a crash drops exactly what was not made durable.
#include "base/faulty_env.h"

#include <gtest/gtest.h>

#include "tests/base/temp_dir.h"

namespace tephra {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class FaultyEnvTest : public ::testing::Test {
 protected:
  std::string contents(const std::string& name) {
    auto text = read_file(Env::posix(), dir_ / name);
    return text.ok() ? *text : std::string(code_name(text.status().code()));
  }
  TempDir dir_;
  FaultyEnv env_{Env::posix()};
};

TEST_F(FaultyEnvTest, FailsTheNthOperationOnly) {
  env_.fail_nth(1, {.status = Status(Code::kIo, "zap")});
  auto file = env_.create(dir_ / "a");
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(env_.fired());
  EXPECT_EQ((*file)->append(bytes_of("x")).message(), "zap");
  EXPECT_TRUE(env_.fired());
  EXPECT_EQ((*file)->sync().message(), "zap") << "a failed file stays failed";
  EXPECT_TRUE(env_.create(dir_ / "b").ok());
  EXPECT_EQ(contents("a"), "");
}

TEST_F(FaultyEnvTest, StickyFaultsNeverEndAndTornAppendsKeepHalf) {
  env_.fail_nth(1, {.sticky = true, .tear = true});
  auto file = env_.create(dir_ / "a");
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE((*file)->append(bytes_of("0123456789")).ok());
  EXPECT_FALSE(env_.create(dir_ / "b").ok());
  EXPECT_EQ(contents("a"), "01234");
}

TEST_F(FaultyEnvTest, CountsReadsOnlyWhenAsked) {
  ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "x").ok());
  env_.fail_nth(0, {});
  EXPECT_TRUE(read_file(env_, dir_ / "a").ok());
  env_.fail_nth(1, {}, true);
  EXPECT_FALSE(read_file(env_, dir_ / "a").ok());
}

TEST_F(FaultyEnvTest, DiskFillsUp) {
  env_.set_space_bytes(5);
  auto file = env_.create(dir_ / "a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->append(bytes_of("123")).ok());
  EXPECT_EQ(*env_.free_bytes(dir_.path()), 2u);
  Status full = (*file)->append(bytes_of("4567"));
  EXPECT_EQ(full.code(), Code::kNoSpace);
  EXPECT_EQ(full.retry_class(), RetryClass::kNeedsOperator);
  EXPECT_EQ(contents("a"), "12345");
}

TEST_F(FaultyEnvTest, CrashDropsUnsyncedBytes) {
  auto file = env_.create(dir_ / "a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->append(bytes_of("kept")).ok());
  ASSERT_TRUE((*file)->sync().ok());
  ASSERT_TRUE(env_.sync_directory(dir_.path()).ok());
  ASSERT_TRUE((*file)->append(bytes_of("lost")).ok());
  ASSERT_TRUE(env_.crash().ok());
  EXPECT_EQ(contents("a"), "kept");
  EXPECT_FALSE((*file)->append(bytes_of("x")).ok()) << "files of before the crash are gone";
}

TEST_F(FaultyEnvTest, TornCrashKeepsHalfOfThem) {
  auto file = env_.create(dir_ / "a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(env_.sync_directory(dir_.path()).ok());
  ASSERT_TRUE((*file)->append(bytes_of("0123456789")).ok());
  ASSERT_TRUE(env_.crash(true).ok());
  EXPECT_EQ(contents("a"), "01234");
}

TEST_F(FaultyEnvTest, CrashUndoesNamesInUnsyncedFolders) {
  ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "old").ok());
  auto file = env_.create(dir_ / "b");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->append(bytes_of("new")).ok());
  ASSERT_TRUE((*file)->sync().ok());
  ASSERT_TRUE(env_.rename(dir_ / "b", dir_ / "a").ok());
  EXPECT_EQ(contents("a"), "new");
  ASSERT_TRUE(env_.crash().ok());
  EXPECT_EQ(contents("a"), "old");
  EXPECT_EQ(contents("b"), "not found");
}

TEST_F(FaultyEnvTest, CrashBringsBackARemovedFile) {
  ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "text").ok());
  ASSERT_TRUE(env_.remove(dir_ / "a").ok());
  ASSERT_TRUE(env_.crash().ok());
  EXPECT_EQ(contents("a"), "text");
  ASSERT_TRUE(env_.remove(dir_ / "a").ok());
  ASSERT_TRUE(env_.sync_directory(dir_.path()).ok());
  ASSERT_TRUE(env_.crash().ok());
  EXPECT_EQ(contents("a"), "not found");
}

TEST_F(FaultyEnvTest, AtomicWriteIsAllOrNothingAtEveryFault) {
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "old").ok());
    env_.fail_nth(n, {.sticky = true, .tear = true});
    Status status = write_file_atomic(env_, dir_ / "a", "new text");
    fired = env_.fired();
    ASSERT_TRUE(env_.crash(true).ok());
    EXPECT_EQ(status.ok(), !fired) << n;
    std::string after = contents("a");
    EXPECT_TRUE(after == "new text" || (fired && after == "old")) << n << ": " << after;
  }
  EXPECT_GE(n, 6);  // create, append, sync, close, rename, sync_directory
}

TEST_F(FaultyEnvTest, DamagesFilesAtRest) {
  ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "aaa").ok());
  ASSERT_TRUE(env_.flip_bit(dir_ / "a", 1, 1).ok());
  EXPECT_EQ(contents("a"), "aca");
  ASSERT_TRUE(env_.truncate(dir_ / "a", 1).ok());
  EXPECT_EQ(contents("a"), "a");
  EXPECT_EQ(env_.flip_bit(dir_ / "a", 9, 1).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra
