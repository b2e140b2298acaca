#include "data/drawing.h"

#include <algorithm>
#include <cstdlib>

namespace tephra::data {
namespace {

// Whether the point (dx, dy) from the centre is in the figure.
bool inside(Figure figure, int64_t dx, int64_t dy, int64_t across, int64_t up) {
  const int64_t ax = std::abs(dx), ay = std::abs(dy);
  switch (figure) {
    case Figure::kCircle: return dx * dx * up * up + dy * dy * across * across <= across * across * up * up;
    case Figure::kRectangle: return ax <= across && ay <= up;
    case Figure::kTriangle: return dy <= up && 2 * ax * up <= (dy + up) * across;
    case Figure::kCross: return (ax <= across && ay * 10 <= up * 3) || (ay <= up && ax * 10 <= across * 3);
  }
  return false;
}

}  // namespace

PixelBox pixel_box(const Extent& at, int size) {
  return {std::max((at.x - at.across) / kSubPixels, 0), std::max((at.y - at.up) / kSubPixels, 0),
          std::min((at.x + at.across) / kSubPixels + 1, size), std::min((at.y + at.up) / kSubPixels + 1, size)};
}

void fill(Image& image, Figure figure, const Extent& at, const std::array<int, 3>& rgb) {
  const int size = image.width;
  const PixelBox box = pixel_box(at, size);
  for (int y = box.y0; y < box.y1; ++y) {
    for (int x = box.x0; x < box.x1; ++x) {
      int hits = 0;  // of 16 points in the pixel
      for (int k = 0; k < 16; ++k)
        hits += inside(figure, x * kSubPixels + k % 4 * 2 + 1 - at.x, y * kSubPixels + k / 4 * 2 + 1 - at.y, at.across,
                       at.up);
      uint8_t* pixel = &image.rgb[static_cast<size_t>(y * size + x) * 3];
      for (size_t c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>((pixel[c] * (16 - hits) + rgb[c] * hits + 8) / 16);
    }
  }
}

}  // namespace tephra::data
