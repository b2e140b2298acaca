// Pictures as bytes: JPEG and PNG in, PNG out. Pixels equal Pillow's Image.open(f).convert('RGB'): EXIF orientation and
// gamma are ignored, alpha is dropped (not blended), gray becomes three equal channels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::data {

// What Pillow too refuses to open (as a decompression bomb), and a side that no JPEG can pass.
inline constexpr int64_t kMaxImagePixels = 178956970;
inline constexpr int64_t kMaxImageSide = 65535;

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // height x width x 3, row by row
};

// `name` stands for the picture in messages. kCorruption: truncated or damaged. kUnsupported: neither JPEG nor PNG (the
// message names GIF, WebP, BMP and TIFF), or larger than kMaxImagePixels
// or kMaxImageSide. 16-bit PNG keeps the upper byte of each
// sample, but gray without alpha is clipped at 255.
Result<Image> decode_image(std::span<const std::byte> bytes, const std::string& name);
// decode_image of a file. kNotFound, kIo besides.
Result<Image> load_image(const std::string& path);

// A picture with its opacity: 0 is clear, 255 covers. Colours are as stored, not multiplied by it.
struct ImageWithAlpha {
  Image image;
  std::vector<uint8_t> alpha;  // height x width, row by row
};

// As decode_image, with alpha (an alpha channel or a tRNS chunk) kept instead of dropped. A picture without any is opaque.
Result<ImageWithAlpha> decode_with_alpha(std::span<const std::byte> bytes, const std::string& name);

Result<std::vector<std::byte>> encode_png(const Image& image);

// Pillow 13's Image.resize((width, height), BICUBIC): a = -0.5, antialiased, 22-bit integer weights, horizontal pass
// first (vertical first for a picture that loses more than twice as many rows as columns), and pixels clipped and
// rounded to 8 bits between the passes. Sizes at least 1.
Image resize_bicubic(const Image& image, int width, int height);

// A picture pasted into a larger square of one colour, at (left, top); or itself (its own size, at 0, 0).
struct Canvas {
  const Image& image;
  int width, height, left, top;
  std::array<uint8_t, 3> fill;
};
struct Window {
  int left, top, width, height;
};
// The part of the resized canvas that `window` shows. Neither the canvas nor the rest of the result is made: of a picture
// of 20,000 x 10 pixels they would have hundreds of megabytes.
Image resize_bicubic(const Canvas& canvas, int width, int height, const Window& window);

// Full path of a sample's picture. kInvalidArgument: absolute, or leading out of `root` by ".." or by a symbolic link.
// kNotFound: no such file.
Result<std::string> resolve_image_path(const std::string& root, const std::string& relative);

}  // namespace tephra::data
