// Packs: what was added comes back, and every kind of damage is refused with the file's name: cut short, any flipped
// bit that matters, another version, a file that is no pack. The bytes of docs/store-format.md's worked example are
// made here.
#include "storage/pack.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class Pack : public ::testing::Test {
 protected:
  PackSummary write(const std::vector<std::string>& chunks, const std::string& name = "p") {
    auto writer = PackWriter::create(env_, dir_.path(), name);
    EXPECT_TRUE(writer.ok()) << writer.status().to_string();
    for (const std::string& chunk : chunks) EXPECT_TRUE((*writer)->add(bytes_of(chunk)).ok());
    auto summary = (*writer)->finish();
    EXPECT_TRUE(summary.ok()) << summary.status().to_string();
    return *summary;
  }
  std::string read(const PackReader& reader, size_t index) {
    auto [chunk, offset] = reader.summary().chunks.at(index);
    std::string out(chunk.length, ' ');
    Status status = reader.read_chunk(chunk, offset, std::as_writable_bytes(std::span(out)));
    return status.ok() ? out : status.to_string();
  }
  Status open_status() { return PackReader::open(env_, dir_.path(), "p").status(); }

  TempDir dir_;
  FaultyEnv env_{Env::posix()};
};

TEST_F(Pack, GivesBackWhatWasAdded) {
  std::vector<std::string> chunks{"a", std::string(64, 'b'), std::string(65, 'c'), std::string(100000, 'd')};
  PackSummary summary = write(chunks);
  auto reader = PackReader::open(env_, dir_.path(), "p");
  ASSERT_TRUE(reader.ok()) << reader.status().to_string();
  EXPECT_EQ((*reader)->summary().chunks, summary.chunks);
  EXPECT_EQ((*reader)->summary().size_bytes, summary.size_bytes);
  ASSERT_EQ(summary.chunks.size(), chunks.size());
  for (size_t i = 0; i < chunks.size(); ++i) {
    EXPECT_EQ(read(**reader, i), chunks[i]);
    EXPECT_EQ(summary.chunks[i].second % 64, 0u);
  }
}

TEST_F(Pack, StoresRepeatedBytesOnce) {
  PackSummary summary = write({"same", "other", "same", "same"});
  EXPECT_EQ(summary.chunks.size(), 2u);
}

TEST_F(Pack, EmptyPackIsAPack) {
  write({});
  auto reader = PackReader::open(env_, dir_.path(), "p");
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE((*reader)->summary().chunks.empty());
}

TEST_F(Pack, HasItsNameOnlyWhenSealed) {
  auto writer = PackWriter::create(env_, dir_.path(), "p");
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->add(bytes_of("x")).ok());
  EXPECT_EQ(open_status().code(), Code::kNotFound);
  writer->reset();
  EXPECT_TRUE(env_.list(dir_.path())->empty()) << "an abandoned writer leaves nothing";
}

TEST_F(Pack, RefusesASecondPackOfTheSameName) {
  write({"x"});
  EXPECT_EQ(PackWriter::create(env_, dir_.path(), "p").status().code(), Code::kAlreadyExists);
  EXPECT_EQ(PackWriter::create(env_, dir_.path(), "../p").status().code(), Code::kInvalidArgument);
}

TEST_F(Pack, RejectsEveryTruncation) {
  PackSummary summary = write({"hello", std::string(100, 'x')});
  for (uint64_t size = summary.size_bytes; size-- > 0;) {
    ASSERT_TRUE(env_.truncate(dir_ / "p.pack", size).ok());
    Status status = open_status();
    ASSERT_EQ(status.code(), Code::kCorruption) << size;
    ASSERT_NE(status.message().find("p.pack"), std::string::npos);
  }
}

TEST_F(Pack, NoticesEveryFlippedBit) {
  const std::vector<std::string> chunks{"hello", std::string(100, 'x'), std::string(kBlockBytes + 5, 'y')};
  const PackSummary summary = write(chunks);
  const std::string path = dir_ / "p.pack";
  const uint64_t large = summary.chunks[2].second;
  const auto wrong = [&](const PackReader& reader) -> std::string {  // what reading the first wrong chunk says
    for (size_t i = 0; i < chunks.size(); ++i)
      if (std::string text = read(reader, i); text != chunks[i]) return text;
    return "";
  };
  int harmless = 0;
  for (uint64_t offset = 0; offset < summary.size_bytes; ++offset) {
    if (offset == large + 100) offset = large + kBlockBytes - 100;  // its middle is like its ends
    ASSERT_TRUE(env_.flip_bit(path, offset, static_cast<int>(offset % 8)).ok());
    auto reader = PackReader::open(env_, dir_.path(), "p");
    if (reader.ok()) {
      const std::string message = wrong(**reader);
      if (message.empty()) ++harmless;  // padding, or the trailer's zeros: what is read is still right
      if (!message.empty()) {
        EXPECT_NE(message.find("p.pack"), std::string::npos) << message;
        EXPECT_NE(message.find("checksum"), std::string::npos) << message;
      }
    }
    ASSERT_TRUE(env_.flip_bit(path, offset, static_cast<int>(offset % 8)).ok());
  }
  EXPECT_EQ(harmless, 59 + 28 + 59 + 16) << "the chunks' padding and the trailer's reserved bytes";
}

TEST_F(Pack, ReadsPartsByTheirBlocks) {
  std::string bytes(2 * kBlockBytes + 7, ' ');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + i / kBlockBytes);
  const PackSummary summary = write({"first", bytes});
  const auto [chunk, offset] = summary.chunks.at(1);
  auto reader = PackReader::open(env_, dir_.path(), "p");
  ASSERT_TRUE(reader.ok()) << reader.status().to_string();
  const auto part = [&](uint64_t begin, uint64_t count) {
    std::string out(count, ' ');
    Status status = (*reader)->read_blocks(chunk, offset, begin, std::as_writable_bytes(std::span(out)));
    return status.ok() ? out : status.message();
  };
  EXPECT_EQ(part(kBlockBytes, kBlockBytes), bytes.substr(kBlockBytes, kBlockBytes));
  EXPECT_EQ(part(kBlockBytes, kBlockBytes + 7), bytes.substr(kBlockBytes));
  EXPECT_EQ(part(2 * kBlockBytes, 7), bytes.substr(2 * kBlockBytes));
  auto hashes = (*reader)->blocks(chunk, offset);
  ASSERT_TRUE(hashes.ok());
  ASSERT_EQ(hashes->size(), 3u);
  EXPECT_EQ((*hashes)[2], hash_text(bytes.substr(2 * kBlockBytes)));
  // A block is compared by itself: another's damage does not matter.
  ASSERT_TRUE(env_.flip_bit(dir_ / "p.pack", offset + 10, 3).ok());
  reader = PackReader::open(env_, dir_.path(), "p");
  ASSERT_TRUE(reader.ok());
  EXPECT_NE(part(0, kBlockBytes).find("fails its checksum"), std::string::npos);
  EXPECT_EQ(part(kBlockBytes, kBlockBytes), bytes.substr(kBlockBytes, kBlockBytes));
  // The index says another place than the footer.
  EXPECT_EQ((*reader)->blocks(chunk, offset + 64).status().code(), Code::kCorruption);
}

TEST_F(Pack, NamesAnotherVersion) {
  write({"x"});
  ASSERT_TRUE(env_.flip_bit(dir_ / "p.pack", 8, 0).ok());  // version 2 becomes 3
  Status status = open_status();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.message().find("version 3"), std::string::npos) << status.message();
}

TEST_F(Pack, FullDiskIsReportedAndSticks) {
  env_.set_space_bytes(200);
  auto writer = PackWriter::create(env_, dir_.path(), "p");
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ((*writer)->add(bytes_of(std::string(500, 'x'))).status().code(), Code::kNoSpace);
  env_.set_space_bytes({});
  EXPECT_EQ((*writer)->add(bytes_of("y")).status().code(), Code::kNoSpace);
  EXPECT_EQ((*writer)->finish().status().code(), Code::kNoSpace);
  EXPECT_EQ(open_status().code(), Code::kNotFound);
}

TEST_F(Pack, SurvivesACrashAtEveryOperation) {
  int64_t n = 0;
  for (bool fired = true; fired; ++n) {
    env_.fail_nth(n, {.sticky = true, .tear = true});
    bool finished = false;
    {
      auto writer = PackWriter::create(env_, dir_.path(), "p");
      if (writer.ok() && (*writer)->add(bytes_of("hello")).ok()) finished = (*writer)->finish().ok();
    }
    fired = env_.fired();
    ASSERT_TRUE(env_.crash(n % 2 == 0).ok());
    Status status = open_status();
    EXPECT_TRUE(status.ok() ? true : !finished && status.code() == Code::kNotFound) << n << " " << status.to_string();
    auto files = Env::posix().list(dir_.path());
    ASSERT_TRUE(files.ok());
    for (const std::string& file : *files) ASSERT_TRUE(Env::posix().remove(dir_ / file).ok());
  }
  EXPECT_GE(n, 9);  // create, header, chunk, padding, entries, trailer, sync, close, rename, sync_directory
}

TEST_F(Pack, SummaryRoundTrips) {
  PackSummary summary = write({"a", "bb"});
  auto decoded = decode_pack_summary(encode(summary));
  ASSERT_TRUE(decoded.ok()) << decoded.status().to_string();
  EXPECT_EQ(decoded->pack, summary.pack);
  EXPECT_EQ(decoded->size_bytes, summary.size_bytes);
  EXPECT_EQ(decoded->chunks, summary.chunks);
  summary.pack = "../../etc/x";
  EXPECT_EQ(decode_pack_summary(encode(summary)).status().code(), Code::kCorruption);
  summary.pack = "p";
  summary.chunks[0].second = summary.size_bytes;
  EXPECT_EQ(decode_pack_summary(encode(summary)).status().code(), Code::kCorruption);
}

TEST_F(Pack, HashExampleOfTheFormatPage) {
  const std::string zeros(kBlockBytes + 1, '\0');
  const auto page = read_file(env_, std::string(TEPHRA_SOURCE_DIR) + "/docs/store-format.md");
  ASSERT_TRUE(page.ok());
  const auto blocks = hash_blocks(bytes_of(zeros));
  ASSERT_EQ(blocks.size(), 2u);
  for (const Hash128& hash : {blocks[0], blocks[1], chunk_of(bytes_of(zeros)).hash})
    EXPECT_NE(page->find("`" + hash.hex() + "`"), std::string::npos) << hash.hex();
}

TEST_F(Pack, WorkedExampleOfTheFormatPage) {
  write({"hello"}, "example");
  auto bytes = read_file(env_, dir_ / "example.pack");
  ASSERT_TRUE(bytes.ok());
  std::string dump;
  for (size_t row = 0; row < bytes->size(); row += 16) {
    char text[80];
    int n = std::snprintf(text, sizeof text, "%04zx ", row);
    for (size_t i = row; i < row + 16; ++i)
      n += std::snprintf(text + n, sizeof text - static_cast<size_t>(n), " %02x", static_cast<uint8_t>((*bytes)[i]));
    dump += std::string(text) + "\n";
  }
  auto page = read_file(env_, std::string(TEPHRA_SOURCE_DIR) + "/docs/store-format.md");
  ASSERT_TRUE(page.ok());
  EXPECT_NE(page->find(dump), std::string::npos) << "docs/store-format.md must hold exactly:\n" << dump;
}

}  // namespace
}  // namespace tephra::storage
