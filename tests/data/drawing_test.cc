// Figures cover what geometry says they cover, with smooth edges, and nothing outside their boxes.
#include "data/drawing.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tephra::data {
namespace {

constexpr int kSize = 64;

Image blank() { return {kSize, kSize, std::vector<uint8_t>(size_t{3} * kSize * kSize, 255)}; }

// Black on white: how much of the picture is black, in pixels.
double area(const Image& image) {
  double sum = 0;
  for (size_t i = 0; i < image.rgb.size(); i += 3) sum += (255 - image.rgb[i]) / 255.0;
  return sum;
}

TEST(Drawing, AreasAreThoseOfGeometry) {
  const Extent at{32 * kSubPixels, 30 * kSubPixels, 20 * kSubPixels, 12 * kSubPixels};
  const double across = 20, up = 12;
  const std::pair<Figure, double> expected[] = {
      {Figure::kCircle, M_PI * across * up},
      {Figure::kRectangle, 4 * across * up},
      {Figure::kTriangle, 2 * across * up},
      {Figure::kCross, 4 * across * up * (2 * 0.3 - 0.09)},
  };
  for (const auto& [figure, pixels] : expected) {
    Image image = blank();
    fill(image, figure, at, {0, 0, 0});
    EXPECT_NEAR(area(image) / pixels, 1.0, 0.02) << static_cast<int>(figure);
  }
}

TEST(Drawing, StaysInItsBox) {
  for (const Figure figure : {Figure::kCircle, Figure::kRectangle, Figure::kTriangle, Figure::kCross}) {
    const Extent at{163, 210, 77, 51};
    const PixelBox box = pixel_box(at, kSize);
    Image image = blank();
    fill(image, figure, at, {10, 20, 30});
    PixelBox seen{kSize, kSize, 0, 0};
    for (int y = 0; y < kSize; ++y) {
      for (int x = 0; x < kSize; ++x) {
        if (image.rgb[static_cast<size_t>(y * kSize + x) * 3] == 255) continue;
        seen = {std::min(seen.x0, x), std::min(seen.y0, y), std::max(seen.x1, x + 1), std::max(seen.y1, y + 1)};
      }
    }
    EXPECT_GE(seen.x0, box.x0);
    EXPECT_GE(seen.y0, box.y0);
    EXPECT_LE(seen.x1, box.x1);
    EXPECT_LE(seen.y1, box.y1);
    EXPECT_NEAR(seen.x1 - seen.x0, 2.0 * 77 / kSubPixels, 2) << static_cast<int>(figure);
    EXPECT_NEAR(seen.y1 - seen.y0, 2.0 * 51 / kSubPixels, 2) << static_cast<int>(figure);
  }
}

TEST(Drawing, EdgesAreMixedAndTheInsideIsPlain) {
  Image image = blank();
  fill(image, Figure::kCircle, {256, 256, 100, 100}, {200, 100, 0});
  const uint8_t* middle = &image.rgb[static_cast<size_t>(32 * kSize + 32) * 3];
  EXPECT_EQ((std::array<int, 3>{middle[0], middle[1], middle[2]}), (std::array<int, 3>{200, 100, 0}));
  int mixed = 0;
  for (size_t i = 2; i < image.rgb.size(); i += 3) mixed += image.rgb[i] != 0 && image.rgb[i] != 255;
  EXPECT_GT(mixed, 40);
  EXPECT_LT(mixed, 200);
}

TEST(Drawing, WhatLiesOutsideThePictureIsLeftOut) {
  Image image = blank();
  fill(image, Figure::kRectangle, {0, 0, 80, 80}, {0, 0, 0});
  EXPECT_NEAR(area(image), 100, 0.5);
  fill(image, Figure::kCircle, {-400, 900, 80, 80}, {0, 0, 0});
  EXPECT_NEAR(area(image), 100, 0.5);
}

}  // namespace
}  // namespace tephra::data
