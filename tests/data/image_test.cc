// Decoding equals Pillow's on the parity set (by SHA-256 of the pixels, computed by sha256sum) and by hand-made
// pictures elsewhere.
#include "data/image.h"

#include <gtest/gtest.h>
#include <png.h>
#include <turbojpeg.h>

#include <cmath>

#include "tests/data/picture.h"
#include "tests/data/reference.h"

namespace tephra::data {
namespace {

Result<Image> decode(const std::string& bytes) { return decode_image(std::as_bytes(std::span(bytes)), "test.png"); }

std::string write_jpeg(int width, int height, int format, int subsampling, const std::vector<uint8_t>& pixels) {
  tjhandle handle = tjInitCompress();
  unsigned char* out = nullptr;
  unsigned long size = 0;
  EXPECT_EQ(tjCompress2(handle, pixels.data(), width, 0, height, format, &out, &size, subsampling, 95, 0), 0)
      << tjGetErrorStr2(handle);
  std::string bytes(reinterpret_cast<char*>(out), size);
  tjFree(out);
  tjDestroy(handle);
  return bytes;
}

TEST(Image, DecodesTheParitySetToPillowsBytes) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  const auto images = read_reference(dir + "/preprocess.json")["images"];
  ASSERT_GE(images.size(), 8u);
  TempDir temp;
  for (const auto& row : images) {
    const std::string name = row["image"];
    auto image = load_image(dir + "/images/" + name);
    ASSERT_TRUE(image.ok()) << image.status().to_string();
    EXPECT_EQ(image->width, row["width"]) << name;
    EXPECT_EQ(image->height, row["height"]) << name;
    uint64_t sum = 0;
    for (uint8_t v : image->rgb) sum += v;
    EXPECT_EQ(sum, row["rgb_sum"]) << name;
    const std::string raw = temp.write("raw", std::string(image->rgb.begin(), image->rgb.end()));
    ASSERT_EQ(std::system(("sha256sum " + raw + " >" + temp.path() + "/sum").c_str()), 0);
    EXPECT_EQ(read_file(Env::posix(), temp.path() + "/sum")->substr(0, 64), row["rgb_sha256"].get<std::string>())
        << name;
  }
}

TEST(Image, PngSurvivesARoundTrip) {
  for (auto [w, h] : {std::pair{1, 1}, {7, 3}, {300, 200}}) {
    Image image = gradient(w, h);
    auto back = decode(png_text(image));
    ASSERT_TRUE(back.ok()) << back.status().to_string();
    EXPECT_EQ(back->width, w);
    EXPECT_EQ(back->height, h);
    EXPECT_EQ(back->rgb, image.rgb);
  }
}

TEST(Image, AlphaIsKeptWhereItIsAskedFor) {
  const auto decoded = [](const std::string& bytes) {
    return decode_with_alpha(std::as_bytes(std::span(bytes)), "test.png");
  };
  const auto rgba = decoded(write_png(2, 1, PNG_FORMAT_RGBA, {10, 20, 30, 0, 40, 50, 60, 128}));
  ASSERT_TRUE(rgba.ok()) << rgba.status().to_string();
  EXPECT_EQ(rgba->image.rgb, (std::vector<uint8_t>{10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(rgba->alpha, (std::vector<uint8_t>{0, 128}));
  const auto gray = decoded(write_png(2, 1, PNG_FORMAT_GA, {7, 255, 9, 3}));
  ASSERT_TRUE(gray.ok());
  EXPECT_EQ(gray->image.rgb, (std::vector<uint8_t>{7, 7, 7, 9, 9, 9}));
  EXPECT_EQ(gray->alpha, (std::vector<uint8_t>{255, 3}));
  const uint8_t colors[] = {1, 2, 3, 255, 4, 5, 6, 77};  // a palette, with a tRNS chunk for the second entry
  const auto palette = decoded(write_png(2, 1, PNG_FORMAT_RGBA_COLORMAP, {1, 0}, colors, 2));
  ASSERT_TRUE(palette.ok());
  EXPECT_EQ(palette->image.rgb, (std::vector<uint8_t>{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(palette->alpha, (std::vector<uint8_t>{77, 255}));
  const auto opaque = decoded(png_text(gradient(3, 2)));
  ASSERT_TRUE(opaque.ok());
  EXPECT_EQ(opaque->image.rgb, gradient(3, 2).rgb);
  EXPECT_EQ(opaque->alpha, std::vector<uint8_t>(6, 255));
  const auto jpeg = decoded(write_jpeg(16, 8, TJPF_RGB, TJSAMP_444, gradient(16, 8).rgb));
  ASSERT_TRUE(jpeg.ok());
  EXPECT_EQ(jpeg->alpha, std::vector<uint8_t>(128, 255));
  EXPECT_EQ(decoded(png_text(gradient(3, 2)).substr(0, 50)).status().code(), Code::kCorruption);
}

TEST(Image, AlphaIsDroppedAndNotBlended) {
  auto image = decode(write_png(2, 1, PNG_FORMAT_RGBA, {10, 20, 30, 0, 40, 50, 60, 128}));
  ASSERT_TRUE(image.ok()) << image.status().to_string();
  EXPECT_EQ(image->rgb, (std::vector<uint8_t>{10, 20, 30, 40, 50, 60}));
}

TEST(Image, GrayAndPaletteBecomeThreeChannels) {
  auto gray = decode(write_png(2, 1, PNG_FORMAT_GRAY, {7, 200}));
  ASSERT_TRUE(gray.ok()) << gray.status().to_string();
  EXPECT_EQ(gray->rgb, (std::vector<uint8_t>{7, 7, 7, 200, 200, 200}));
  const uint8_t palette[] = {1, 2, 3, 250, 251, 252};
  auto mapped = decode(write_png(2, 1, PNG_FORMAT_RGB_COLORMAP, {1, 0}, palette, 2));
  ASSERT_TRUE(mapped.ok()) << mapped.status().to_string();
  EXPECT_EQ(mapped->rgb, (std::vector<uint8_t>{250, 251, 252, 1, 2, 3}));
}

TEST(Image, JpegOfEveryColorSpaceComesOutAsRgb) {
  auto gray = decode(write_jpeg(16, 16, TJPF_GRAY, TJSAMP_GRAY, std::vector<uint8_t>(256, 90)));
  ASSERT_TRUE(gray.ok()) << gray.status().to_string();
  for (uint8_t v : gray->rgb) EXPECT_NEAR(v, 90, 1);
  // Inverted CMYK, as Adobe stores it and Pillow takes it: 255 - ink. Red is no cyan, all magenta and yellow, no key.
  std::vector<uint8_t> cmyk;
  for (int i = 0; i < 256; ++i) cmyk.insert(cmyk.end(), {255, 0, 0, 255});
  auto red = decode(write_jpeg(16, 16, TJPF_CMYK, TJSAMP_444, cmyk));
  ASSERT_TRUE(red.ok()) << red.status().to_string();
  for (size_t i = 0; i < red->rgb.size(); i += 3) {
    EXPECT_GE(red->rgb[i], 250);
    EXPECT_LE(red->rgb[i + 1], 5);
    EXPECT_LE(red->rgb[i + 2], 5);
  }
}

// Gray by itself is another thing to Pillow, which clips it.
TEST(Image, SixteenBitsKeepTheUpperByte) {
  for (int interlace : {PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7}) {
    auto rgb =
        decode(write_png16(2, 1, PNG_COLOR_TYPE_RGB, {0x0AFF, 0x1400, 0x1E80, 0xFFFF, 0x00FF, 0x8000}, interlace));
    ASSERT_TRUE(rgb.ok()) << rgb.status().to_string();
    EXPECT_EQ(rgb->rgb, (std::vector<uint8_t>{10, 20, 30, 255, 0, 128}));
    auto alpha = decode(write_png16(1, 1, PNG_COLOR_TYPE_RGB_ALPHA, {0x0AFF, 0x1400, 0x1E80, 0x0000}, interlace));
    ASSERT_TRUE(alpha.ok()) << alpha.status().to_string();
    EXPECT_EQ(alpha->rgb, (std::vector<uint8_t>{10, 20, 30}));
    auto gray = decode(write_png16(3, 1, PNG_COLOR_TYPE_GRAY, {0x00FE, 0x0100, 0xFFFF}, interlace));
    ASSERT_TRUE(gray.ok()) << gray.status().to_string();
    EXPECT_EQ(gray->rgb, (std::vector<uint8_t>{254, 254, 254, 255, 255, 255, 255, 255, 255}));
  }
}

// As Pillow without exif_transpose, which the original does not call.
TEST(Image, ExifOrientationIsIgnored) {
  const Image image = gradient(32, 16);
  const std::string plain = write_jpeg(32, 16, TJPF_RGB, TJSAMP_444, image.rgb);
  // APP1: "Exif", a big-endian TIFF with one entry, orientation (0x0112) = 6.
  const std::string exif("Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", 32);
  const std::string turned =
      plain.substr(0, 2) + std::string("\xFF\xE1\0", 3) + static_cast<char>(exif.size() + 2) + exif + plain.substr(2);
  auto a = decode(plain), b = decode(turned);
  ASSERT_TRUE(a.ok() && b.ok()) << b.status().to_string();
  EXPECT_EQ(b->width, 32);
  EXPECT_EQ(b->rgb, a->rgb);
}

TEST(Image, TruncatedFilesAreErrorsThatNameTheFile) {
  const Image image = gradient(64, 48);
  for (const std::string& whole : {png_text(image), write_jpeg(64, 48, TJPF_RGB, TJSAMP_420, image.rgb)}) {
    for (size_t keep :
         {size_t{0}, size_t{1}, size_t{3}, size_t{20}, whole.size() / 4, whole.size() / 2, whole.size() - 30}) {
      auto cut = decode(whole.substr(0, keep));
      ASSERT_FALSE(cut.ok()) << keep;
      EXPECT_NE(cut.status().message().find("test.png"), std::string::npos) << cut.status().message();
    }
  }
}

TEST(Image, DamagedBytesNeverCrash) {
  const Image image = gradient(40, 30);
  for (const std::string& whole : {png_text(image), write_jpeg(40, 30, TJPF_RGB, TJSAMP_420, image.rgb)}) {
    for (size_t i = 0; i < whole.size(); i += 3) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ 0x5A);
      auto result = decode(bytes);
      if (!result.ok()) continue;
      EXPECT_EQ(result->rgb.size(), size_t{3} * result->width * result->height);
    }
  }
}

TEST(Image, RefusesOtherFormatsAndHugePictures) {
  Status gif = decode("GIF89a............").status();
  EXPECT_EQ(gif.code(), Code::kUnsupported);
  EXPECT_NE(gif.message().find("GIF"), std::string::npos);
  EXPECT_EQ(decode("hello").status().code(), Code::kUnsupported);
  EXPECT_EQ(load_image("/nonexistent/a.png").status().code(), Code::kNotFound);
  for (const char* start : {"RIFF", "RIFF1234", "RIFF1234WEB", "RIFF1234XEBP"})  // fuzzing: the first ended the program
    EXPECT_EQ(decode(start).status().code(), Code::kUnsupported) << start;
  EXPECT_NE(decode("RIFF1234WEBP").status().message().find("WebP"), std::string::npos);
}

// A PNG whose header, with its checksum made by hand, says `width` x `height`, and nothing like it behind.
std::string png_claiming(uint32_t width, uint32_t height) {
  std::string bytes = png_text(gradient(1, 1));
  for (int i = 0; i < 4; ++i) {
    bytes[16 + i] = static_cast<char>(width >> (24 - 8 * i));
    bytes[20 + i] = static_cast<char>(height >> (24 - 8 * i));
  }
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 12; i < 29; ++i) {
    crc ^= static_cast<uint8_t>(bytes[i]);
    for (int b = 0; b < 8; ++b) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  crc = ~crc;
  for (int i = 0; i < 4; ++i) bytes[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
  return bytes;
}

// Refused by the header, before memory is taken for the pixels.
TEST(Image, PictureBombsAreRefusedByTheirHeader) {
  for (auto [width, height] : {std::pair{30000u, 30000u}, {13378u, 13378u}, {65536u, 1u}, {1u, 178956970u}}) {
    const Status status = decode(png_claiming(width, height)).status();
    EXPECT_EQ(status.code(), Code::kUnsupported) << status.message();
    EXPECT_NE(status.message().find("test.png is " + std::to_string(width) + "x" + std::to_string(height)),
              std::string::npos)
        << status.message();
  }
  EXPECT_EQ(decode(png_claiming(200, 100)).status().code(), Code::kCorruption);  // allowed, and cut off
  std::string jpeg = write_jpeg(16, 16, TJPF_RGB, TJSAMP_444, gradient(16, 16).rgb);
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xFD\xE8\xFD\xE8");  // 65000 x 65000
  const Status status = decode(jpeg).status();
  EXPECT_EQ(status.code(), Code::kUnsupported) << status.message();
  EXPECT_NE(status.message().find("65000x65000"), std::string::npos) << status.message();
}

TEST(Image, AWindowOfTheResizedPictureIsWhatACutOutOfItWouldBe) {
  for (auto [w, h, width, height] : {std::tuple{61, 37, 200, 30}, {37, 400, 20, 50}, {5, 3, 100, 60}}) {
    const Image image = gradient(w, h);
    const Image whole = resize_bicubic(image, width, height);
    const Window window{width / 3, height / 4, width / 2, height / 2};
    const Image part = resize_bicubic({image, w, h, 0, 0, {}}, width, height, window);
    for (int y = 0; y < window.height; ++y)
      for (int x = 0; x < 3 * window.width; ++x)
        ASSERT_EQ(part.rgb[static_cast<size_t>(3 * window.width * y + x)],
                  whole.rgb[static_cast<size_t>(3 * (width * (window.top + y) + window.left) + x)])
            << w << " " << x << " " << y;
  }
}

TEST(Image, ACanvasIsThePictureInASquareOfItsColour) {
  for (auto [w, h] : {std::pair{30, 11}, {11, 30}}) {
    const Image image = gradient(w, h);
    Image pasted{30, 30, {}};
    for (int y = 0; y < 30; ++y)
      for (int x = 0; x < 30; ++x) {
        const int from_x = x - (30 - w) / 2, from_y = y - (30 - h) / 2;
        const bool inside = from_x >= 0 && from_x < w && from_y >= 0 && from_y < h;
        for (int c = 0; c < 3; ++c)
          pasted.rgb.push_back(inside ? image.rgb[static_cast<size_t>(3 * (w * from_y + from_x) + c)]
                                      : static_cast<uint8_t>(120 + c));
      }
    const Canvas canvas{image, 30, 30, (30 - w) / 2, (30 - h) / 2, {120, 121, 122}};
    for (int edge : {7, 30, 64})
      EXPECT_EQ(resize_bicubic(canvas, edge, edge, {0, 0, edge, edge}).rgb, resize_bicubic(pasted, edge, edge).rgb)
          << w << " " << edge;
  }
}

// The same method in floating point, without the rounding of weights: within one level of it.
TEST(Image, ResizeFollowsTheCubicKernel) {
  const Image image = gradient(61, 37);
  const Image out = resize_bicubic(image, 20, 50);
  ASSERT_EQ(out.rgb.size(), size_t{3} * 20 * 50);
  auto kernel = [](double x) {
    x = std::fabs(x);
    return x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
  };
  auto sample = [&](auto get, int in, int out_size, int o) {
    const double scale = static_cast<double>(in) / out_size, stretch = std::max(scale, 1.0), center = (o + 0.5) * scale;
    double sum = 0, weights = 0;
    for (int i = 0; i < in; ++i) {
      const double w = kernel((i + 0.5 - center) / stretch);
      sum += w * get(i);
      weights += w;
    }
    return std::clamp(std::floor(sum / weights + 0.5), 0.0, 255.0);
  };
  for (int y = 0; y < 50; ++y) {
    for (int x = 0; x < 20; ++x) {
      for (int c = 0; c < 3; ++c) {
        auto row = [&](int sy) { return sample([&](int sx) { return image.rgb[(sy * 61 + sx) * 3 + c]; }, 61, 20, x); };
        EXPECT_NEAR(out.rgb[(y * 20 + x) * 3 + c], sample(row, 37, 50, y), 1.0) << x << " " << y;
      }
    }
  }
  EXPECT_EQ(resize_bicubic(image, 61, 37).rgb, image.rgb);
  EXPECT_EQ(resize_bicubic(gradient(1, 1), 5, 4).rgb, std::vector<uint8_t>(60, 0));
}

TEST(ImagePath, StaysInsideTheRoot) {
  TempDir dir;
  dir.write("root/a/b.png", "x");
  dir.write("outside.png", "x");
  dir.write("root2/c.png", "x");
  const std::string root = dir.path() + "/root";
  std::filesystem::create_symlink(dir.path() + "/outside.png", root + "/link.png");
  std::filesystem::create_symlink(root + "/a/b.png", root + "/good.png");
  EXPECT_TRUE(resolve_image_path(root, "a/b.png").ok());
  EXPECT_TRUE(resolve_image_path(root, "good.png").ok());
  EXPECT_TRUE(resolve_image_path(root + "/", "./a/b.png").ok());
  for (const char* bad : {"../outside.png", "a/../../outside.png", "a/../a/b.png", "link.png", "/etc/passwd", ""}) {
    EXPECT_EQ(resolve_image_path(root, bad).status().code(), Code::kInvalidArgument) << bad;
  }
  EXPECT_EQ(resolve_image_path(root, "a/none.png").status().code(), Code::kNotFound);
  EXPECT_EQ(resolve_image_path(dir.path() + "/none", "a.png").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tephra::data
