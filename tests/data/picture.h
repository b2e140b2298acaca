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
