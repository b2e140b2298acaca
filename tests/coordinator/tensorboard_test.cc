// The records' framing and fields, against values worked out by hand from the format and a published CRC-32C vector.
#include "coordinator/tensorboard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

namespace tephra::coordinator {
namespace {

TEST(TensorBoard, Crc32cEqualsThePublishedVector) { EXPECT_EQ(crc32c("123456789"), 0xE3069283u); }

TEST(TensorBoard, ARecordIsFramedAndHoldsItsFields) {
  std::string record = event_record(1.5, 7, {{"loss", 0.25}});
  uint64_t length = 0;
  std::memcpy(&length, record.data(), 8);
  ASSERT_EQ(record.size(), 8 + 4 + length + 4);
  uint32_t crc = crc32c(std::string_view(record).substr(0, 8)), stored = 0;
  std::memcpy(&stored, record.data() + 8, 4);
  EXPECT_EQ(stored, ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
  std::string expected("\x09\0\0\0\0\0\0\xf8\x3f\x10\x07\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\x80\x3e", 26);
  EXPECT_EQ(record.substr(12, length), expected);
}

TEST(TensorBoard, AFileStartsWithItsVersionAndGrows) {
  std::string directory = ::testing::TempDir() + "/tensorboard";
  std::filesystem::remove_all(directory);
  ASSERT_TRUE(append_scalars(directory, "job", 1, 1, {{"loss", 2.0}}).ok());
  std::string path = directory + "/events.out.tfevents.job";
  auto first = std::filesystem::file_size(path);
  EXPECT_EQ(first, first_event_record(1).size() + event_record(1, 1, {{"loss", 2.0}}).size());
  ASSERT_TRUE(append_scalars(directory, "job", 2, 2, {{"loss", 1.0}}).ok());
  EXPECT_EQ(std::filesystem::file_size(path), first + event_record(2, 2, {{"loss", 1.0}}).size());
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace tephra::coordinator
