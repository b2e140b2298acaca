// The Env contract, run over the posix Env and over the faulty one with no fault armed; then what only posix does.
#include "base/env.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/faulty_env.h"
#include "tests/base/temp_dir.h"

namespace tephra {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class EnvContract : public ::testing::TestWithParam<bool> {
 protected:
  EnvContract() : faulty_(Env::posix()), env_(GetParam() ? static_cast<Env&>(faulty_) : Env::posix()) {}

  std::string contents(const std::string& name) {
    auto text = read_file(env_, dir_ / name);
    return text.ok() ? *text : text.status().to_string();
  }
  void put(const std::string& name, std::string_view text) {
    auto file = env_.create(dir_ / name);
    ASSERT_TRUE(file.ok()) << file.status().to_string();
    ASSERT_TRUE((*file)->append(bytes_of(text)).ok());
    ASSERT_TRUE((*file)->close().ok());
  }

  TempDir dir_;
  FaultyEnv faulty_;
  Env& env_;
};

INSTANTIATE_TEST_SUITE_P(Envs, EnvContract, ::testing::Values(false, true),
                         [](const auto& info) { return info.param ? "faulty" : "posix"; });

TEST_P(EnvContract, AppendsReadBack) {
  auto file = env_.create(dir_ / "a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->append(bytes_of("one ")).ok());
  ASSERT_TRUE((*file)->append({}).ok());
  ASSERT_TRUE((*file)->append(bytes_of("two")).ok());
  ASSERT_TRUE((*file)->sync().ok());
  ASSERT_TRUE((*file)->close().ok());
  EXPECT_EQ(contents("a"), "one two");
}

TEST_P(EnvContract, CreateRefusesWhatIsThere) {
  put("a", "x");
  auto again = env_.create(dir_ / "a");
  EXPECT_EQ(again.status().code(), Code::kAlreadyExists);
  EXPECT_NE(again.status().message().find(dir_ / "a"), std::string::npos);
  EXPECT_EQ(contents("a"), "x");
}

TEST_P(EnvContract, OpenNamesTheMissingFile) {
  auto file = env_.open(dir_ / "nothing");
  EXPECT_EQ(file.status().code(), Code::kNotFound);
  EXPECT_NE(file.status().message().find(dir_ / "nothing"), std::string::npos);
}

TEST_P(EnvContract, ReadAtFillsOrFails) {
  put("a", "0123456789");
  auto file = env_.open(dir_ / "a");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size_bytes(), 10u);
  std::string out(4, ' ');
  ASSERT_TRUE((*file)->read_at(3, std::as_writable_bytes(std::span(out))).ok());
  EXPECT_EQ(out, "3456");
  Status past = (*file)->read_at(8, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(past.code(), Code::kCorruption);
  EXPECT_NE(past.message().find(dir_ / "a"), std::string::npos);
}

TEST_P(EnvContract, RenameReplaces) {
  put("old", "old");
  put("new", "new");
  ASSERT_TRUE(env_.rename(dir_ / "new", dir_ / "old").ok());
  EXPECT_EQ(contents("old"), "new");
  EXPECT_FALSE(env_.exists(dir_ / "new"));
  EXPECT_EQ(env_.rename(dir_ / "new", dir_ / "x").code(), Code::kNotFound);
}

TEST_P(EnvContract, ListsSortedAndRemoves) {
  for (const char* name : {"b", "a", "c"}) put(name, name);
  auto names = env_.list(dir_.path());
  ASSERT_TRUE(names.ok());
  EXPECT_EQ(*names, (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_TRUE(env_.remove(dir_ / "b").ok());
  EXPECT_FALSE(env_.exists(dir_ / "b"));
  EXPECT_EQ(env_.remove(dir_ / "b").code(), Code::kNotFound);
  EXPECT_EQ(env_.list(dir_ / "nothing").status().code(), Code::kNotFound);
}

TEST_P(EnvContract, MakesFoldersWithTheirParents) {
  ASSERT_TRUE(env_.make_directories(dir_ / "x/y/z").ok());
  ASSERT_TRUE(env_.make_directories(dir_ / "x/y/z").ok());
  ASSERT_TRUE(env_.make_directories(dir_ / "x/y/z/").ok());
  EXPECT_TRUE(std::filesystem::is_directory(dir_ / "x/y/z"));
  ASSERT_TRUE(env_.sync_directory(dir_ / "x").ok());
  put("file", "");
  EXPECT_EQ(env_.make_directories(dir_ / "file/z").code(), Code::kAlreadyExists);
  EXPECT_GT(*env_.free_bytes(dir_.path()), 0u);
}

TEST_P(EnvContract, AtomicWriteReplacesAndLeavesNothingElse) {
  ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "first").ok());
  ASSERT_TRUE(write_file_atomic(env_, dir_ / "a", "second").ok());
  EXPECT_EQ(contents("a"), "second");
  EXPECT_EQ(*env_.list(dir_.path()), (std::vector<std::string>{"a"}));
}

// Nobody will ever write into it.
TEST(PosixEnv, RefusesAPipeWithoutWaitingForIt) {
  TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  const Status status = Env::posix().open(dir / "pipe").status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("pipe is not a regular file"), std::string::npos) << status.message();
}

TEST(PosixEnv, RefusesFoldersAsFiles) {
  TempDir dir;
  EXPECT_EQ(Env::posix().open(dir.path()).status().code(), Code::kInvalidArgument);
}

TEST(PosixEnv, ManyThreadsReadOneFile) {
  TempDir dir;
  std::string text(1 << 16, ' ');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  ASSERT_TRUE(write_file_atomic(Env::posix(), dir / "a", text).ok());
  auto file = Env::posix().open(dir / "a");
  ASSERT_TRUE(file.ok());
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t offset = t; offset + 100 < text.size(); offset += 997) {
        std::string out(100, ' ');
        if (!(*file)->read_at(offset, std::as_writable_bytes(std::span(out))).ok() || out != text.substr(offset, 100))
          ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace tephra
