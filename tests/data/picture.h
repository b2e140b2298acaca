// Small pictures for tests, made here so that no binary file is kept.
#pragma once

#include <gtest/gtest.h>
#include <png.h>

#include <array>
#include <string>
#include <vector>

#include "data/image.h"

namespace tephra::data {

// A PNG of any libpng format, for the kinds encode_png does not write.
inline std::string write_png(int width, int height, uint32_t format, const std::vector<uint8_t>& pixels,
                             const void* colormap = nullptr, int entries = 0) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = width;
  png.height = height;
  png.format = format;
  png.colormap_entries = entries;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png) + 2048;
  std::string bytes(size, '\0');
  EXPECT_NE(png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels.data(), 0, colormap), 0) << png.message;
  bytes.resize(size);
  return bytes;
}

// A PNG with 16 bits a sample, most significant byte first, as libpng's full interface writes it. `color`: PNG_COLOR_TYPE_*.
inline std::string write_png16(int width, int height, int color, const std::vector<uint16_t>& samples,
                               int interlace = PNG_INTERLACE_NONE) {
  std::string bytes;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &bytes,
      [](png_structp p, png_bytep data, size_t count) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<char*>(data), count);
      },
      nullptr);
  png_set_IHDR(png, info, width, height, 16, color, interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  std::vector<uint8_t> big_endian;
  for (uint16_t v : samples) {
    big_endian.push_back(static_cast<uint8_t>(v >> 8));
    big_endian.push_back(static_cast<uint8_t>(v & 255));
  }
  std::vector<png_bytep> rows;
  for (int y = 0; y < height; ++y) rows.push_back(big_endian.data() + big_endian.size() / height * y);
  png_set_rows(png, info, rows.data());
  png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

// Smooth in x and y, different in each channel, so that a swapped axis or channel shows.
inline Image gradient(int width, int height) {
  Image image{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* p = image.rgb.data() + size_t{3} * (static_cast<size_t>(y) * width + x);
      p[0] = static_cast<uint8_t>(x * 255 / width);
      p[1] = static_cast<uint8_t>(y * 255 / height);
      p[2] = static_cast<uint8_t>((x + y) * 3 % 256);
    }
  }
  return image;
}

using Rgba = std::array<uint8_t, 4>;

// A PNG with an alpha channel, of the colours that `at(x, y)` gives.
template <typename At>
std::string rgba_png_text(int width, int height, const At& at) {
  std::vector<uint8_t> pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (uint8_t value : Rgba(at(x, y))) pixels.push_back(value);
  return write_png(width, height, PNG_FORMAT_RGBA, pixels);
}

inline std::string png_text(const Image& image) {
  auto bytes = encode_png(image);
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

}  // namespace tephra::data
