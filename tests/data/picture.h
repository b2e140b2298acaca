// Small pictures for tests, made here so that no binary file is kept.
#pragma once

#include <string>
#include <vector>

#include "data/image.h"

namespace tephra::data {

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

inline std::string png_text(const Image& image) {
  auto bytes = encode_png(image);
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

}  // namespace tephra::data
