// Filled figures with smooth edges, drawn in integer arithmetic: the same bytes on every machine.
#pragma once

#include <array>
#include <cstdint>

#include "data/image.h"

namespace tephra::data {

enum class Figure : uint8_t { kCircle, kRectangle, kTriangle, kCross };

inline constexpr int kSubPixels = 8;  // lengths below are in eighths of a pixel

// Where a figure lies: its centre, and its half extents.
struct Extent {
  int x = 0, y = 0;
  int across = 0, up = 0;
};

// [x0, x1) by [y0, y1): the smallest box of whole pixels around `at`, as far as it is in a picture of `size` x `size`.
struct PixelBox {
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};
PixelBox pixel_box(const Extent& at, int size);

// Paints over what is there; what lies outside the picture is left out. The picture is square. A circle of two different
// extents is an ellipse; a triangle has its tip at the top; a cross has arms of three tenths of its extents.
void fill(Image& image, Figure figure, const Extent& at, const std::array<int, 3>& rgb);

}  // namespace tephra::data
