// Pictures that are small on the disk and large once inflated: in chunks beside the pixels, which a decoder might read for nothing.
// tests/data/image_test.cc has those whose pixels are too many.
#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <span>

#include "data/image.h"

namespace tephra::data {
namespace {

constexpr size_t kInflated = 256u << 20;

std::string deflated(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string out(size, '\0');
  EXPECT_EQ(compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                      bytes.size(), Z_BEST_SPEED),
            Z_OK);
  out.resize(size);
  return out;
}

std::string big_endian(uint32_t value) {
  std::string out(4, '\0');
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (24 - 8 * i));
  return out;
}

std::string chunk(const std::string& type, const std::string& body) {
  const std::string checked = type + body;
  const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return big_endian(static_cast<uint32_t>(body.size())) + checked + big_endian(static_cast<uint32_t>(crc));
}

// One gray pixel, with `extra` between header and pixels.
std::string png_with(const std::string& extra) {
  const std::string header = big_endian(1) + big_endian(1) + std::string("\x08\x00\x00\x00\x00", 5);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + extra + chunk("IDAT", deflated(std::string("\0\x7f", 2))) +
         chunk("IEND", "");
}

// Resident memory at its peak since forget_peak().
int64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (int64_t kilobytes = 0; word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  ADD_FAILURE() << "/proc/self/status has no VmHWM";
  return 0;
}
void forget_peak() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << 5 << std::flush;
  ASSERT_TRUE(clear.good()) << "the kernel keeps the peak of resident memory";
}

TEST(ImageBomb, CompressedChunksBesideThePixelsTakeNoMemory) {
  const std::string bomb = deflated(std::string(kInflated, 'a'));
  ASSERT_LT(bomb.size(), 2u << 20) << "small on the disk";
  const std::string zero(1, '\0');
  const std::string text = png_with(chunk("zTXt", "Comment" + zero + zero + bomb));
  const std::string international = png_with(chunk("iTXt", "Comment" + zero + "\x01" + zero + zero + zero + bomb));
  const std::string profile = png_with(chunk("iCCP", "profile" + zero + zero + bomb));
  std::string many;
  for (int i = 0; i < 100; ++i) many += chunk("zTXt", "Comment" + zero + zero + deflated(std::string(6u << 20, 'a')));
  for (const std::string& png : {text, international, profile, png_with(many)}) {
    forget_peak();
    const int64_t before = peak_bytes();
    const auto image = decode_image(std::as_bytes(std::span(png)), "bomb.png");
    EXPECT_LT(peak_bytes() - before, int64_t{64} << 20) << "of " << kInflated;
    // The pixel is there, or the file is refused; what stands beside it is not read.
    EXPECT_TRUE(image.ok() || image.status().code() == Code::kCorruption) << image.status().to_string();
  }
}

}  // namespace
}  // namespace tephra::data
