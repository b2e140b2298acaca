// A file written past the page cache holds the same bytes as any other, whatever sizes they come in.
#include "base/direct_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <csignal>

#include "base/random.h"
#include "tests/base/temp_dir.h"

namespace tephra {
namespace {

std::vector<std::byte> drawn(size_t count, uint64_t seed) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>((i * 2654435761u + seed) >> 7);
  return bytes;
}

TEST(DirectFile, HoldsWhatWasAppendedWhateverTheSizes) {
  TempDir dir;
  for (const size_t total : {0u, 1u, 4095u, 4096u, 4097u, (1u << 20) - 1, 1u << 20, (5u << 20) + 12345}) {
    SCOPED_TRACE(total);
    const std::string path = dir / std::to_string(total);
    auto file = create_direct_file(path);
    ASSERT_TRUE(file.ok()) << file.status().to_string();
    const auto bytes = drawn(total, total);
    size_t at = 0;
    for (uint64_t n = 0; at < total; ++n) {
      const size_t part = std::min<size_t>(total - at, 1 + random_bits({total, n}) % 700000);
      ASSERT_TRUE((*file)->append(std::span(bytes).subspan(at, part)).ok());
      at += part;
      if (n % 3 == 1) {
        ASSERT_TRUE((*file)->sync().ok()) << "in the middle: what follows goes on there";
      }
    }
    ASSERT_TRUE((*file)->sync().ok());
    ASSERT_TRUE((*file)->close().ok());
    EXPECT_FALSE((*file)->append(bytes).ok()) << "closed";
    const auto read = read_file(Env::posix(), path);
    ASSERT_TRUE(read.ok());
    EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(*read)), bytes));
  }
}

TEST(DirectFile, ACloseWithoutSyncKeepsTheTailAndAnExistingFileIsRefused) {
  TempDir dir;
  auto file = create_direct_file(dir / "x");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(create_direct_file(dir / "x").status().code(), Code::kAlreadyExists);
  ASSERT_TRUE((*file)->append(drawn(100, 1)).ok());
  ASSERT_TRUE((*file)->close().ok());
  EXPECT_EQ(read_file(Env::posix(), dir / "x")->size(), 100u);
  EXPECT_EQ(create_direct_file(dir / "none/x").status().code(), Code::kNotFound);
}

// As some file systems do, that take O_DIRECT when the file is opened.
ssize_t refuse_direct(int fd, const void* bytes, size_t count, off_t offset) {
  if ((::fcntl(fd, F_GETFL) & O_DIRECT) == 0) return ::pwrite(fd, bytes, count, offset);
  errno = EINVAL;
  return -1;
}
ssize_t refuse_all(int, const void*, size_t, off_t) {
  errno = EINVAL;
  return -1;
}

TEST(DirectFile, GoesOnWithoutDirectWhereOnlyTheWriteRefusesIt) {
  TempDir dir;
  auto file = create_direct_file(dir / "x", refuse_direct);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  const auto bytes = drawn((3u << 20) + 77, 5);
  ASSERT_TRUE((*file)->append(bytes).ok());
  const Status synced = (*file)->sync();
  ASSERT_TRUE(synced.ok()) << synced.to_string();
  ASSERT_TRUE((*file)->close().ok());
  const auto read = read_file(Env::posix(), dir / "x");
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(*read)), bytes));

  auto broken = create_direct_file(dir / "y", refuse_all);
  ASSERT_TRUE(broken.ok());
  ASSERT_TRUE((*broken)->append(drawn(100, 1)).ok());
  EXPECT_FALSE((*broken)->sync().ok()) << "another reason for the same error is not tried for ever";
}

// The limit on a file's size stands for a disk that takes no more.
TEST(DirectFile, AnErrorOfTheThreadIsReturnedByALaterCallAndStays) {
  TempDir dir;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{3u << 20, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  {
    auto file = create_direct_file(dir / "x");
    ASSERT_TRUE(file.ok());
    Status status = ok_status();
    for (int i = 0; i < 16 && status.ok(); ++i) status = (*file)->append(drawn(1u << 20, 1));
    const Status synced = (*file)->sync();
    EXPECT_FALSE(synced.ok());
    EXPECT_NE(synced.message().find(dir / "x"), std::string::npos) << synced.message();
    EXPECT_FALSE((*file)->close().ok());
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  std::signal(SIGXFSZ, old_handler);
}

}  // namespace
}  // namespace tephra
