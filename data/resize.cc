// Pillow's resampling, measured against Pillow 13: equal pixels on every picture of the parity set.
#include <algorithm>
#include <cmath>

#include "data/image.h"

namespace tephra::data {
namespace {

constexpr int kWeightBits = 32 - 8 - 2;  // leaves room for eight bits of pixel and two of overshoot
constexpr double kSupport = 2.0;

// Keys' cubic convolution with a = -0.5 (Keys 1981).
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// For each output pixel of one axis: which input pixels, and their integer weights.
struct Weights {
  int taps = 0;  // room per output pixel
  std::vector<int> first, count;
  std::vector<int32_t> values;
};

Weights weights_for(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);  // antialias when shrinking only
  const double support = kSupport * filter_scale;
  Weights w;
  w.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  w.first.resize(out);
  w.count.resize(out);
  w.values.assign(static_cast<size_t>(out) * w.taps, 0);
  std::vector<double> row(w.taps);
  for (int o = 0; o < out; ++o) {
    const double center = (o + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in) - first;
    double sum = 0;
    for (int i = 0; i < count; ++i) {
      row[i] = cubic((i + first - center + 0.5) * (1.0 / filter_scale));
      sum += row[i];
    }
    for (int i = 0; i < count; ++i) {
      const double value = sum == 0 ? row[i] : row[i] / sum;
      w.values[static_cast<size_t>(o) * w.taps + i] =
          static_cast<int32_t>((value < 0 ? -0.5 : 0.5) + value * (1 << kWeightBits));
    }
    w.first[o] = first;
    w.count[o] = count;
  }
  return w;
}

uint8_t clip8(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

Image resize_horizontal(const Image& image, int width) {
  const Weights w = weights_for(image.width, width);
  Image out{width, image.height, std::vector<uint8_t>(size_t{3} * width * image.height)};
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* row = image.rgb.data() + size_t{3} * image.width * y;
    uint8_t* target = out.rgb.data() + size_t{3} * width * y;
    for (int x = 0; x < width; ++x, target += 3) {
      int32_t sum[3] = {1 << (kWeightBits - 1), 1 << (kWeightBits - 1), 1 << (kWeightBits - 1)};
      const uint8_t* source = row + size_t{3} * w.first[x];
      const int32_t* weight = w.values.data() + static_cast<size_t>(x) * w.taps;
      for (int i = 0; i < w.count[x]; ++i, source += 3) {
        for (int c = 0; c < 3; ++c) sum[c] += source[c] * weight[i];
      }
      for (int c = 0; c < 3; ++c) target[c] = clip8(sum[c]);
    }
  }
  return out;
}

Image resize_vertical(const Image& image, int height) {
  const Weights w = weights_for(image.height, height);
  const size_t stride = size_t{3} * image.width;
  Image out{image.width, height, std::vector<uint8_t>(stride * height)};
  std::vector<int32_t> sum(stride);
  for (int y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kWeightBits - 1));
    for (int i = 0; i < w.count[y]; ++i) {
      const uint8_t* row = image.rgb.data() + stride * (w.first[y] + i);
      const int32_t weight = w.values[static_cast<size_t>(y) * w.taps + i];
      for (size_t x = 0; x < stride; ++x) sum[x] += row[x] * weight;
    }
    uint8_t* target = out.rgb.data() + stride * y;
    for (size_t x = 0; x < stride; ++x) target[x] = clip8(sum[x]);
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Image& image, int width, int height) {
  TEPHRA_CHECK(width > 0 && height > 0 && image.width > 0 && image.height > 0,
               "resize of or to a picture without pixels");
  // A pass that changes nothing is left out. Since version 13 Pillow takes the vertical pass first when more than twice
  // as many rows as columns go away; the rounding between the passes makes that visible, by up to 8 levels in a tall
  // photo.
  const auto across = [&](const Image& in) { return width == in.width ? in : resize_horizontal(in, width); };
  const auto down = [&](const Image& in) { return height == in.height ? in : resize_vertical(in, height); };
  const int rows_lost = image.height - height;
  const int columns_lost = image.width - width;
  if (rows_lost > 0 && rows_lost > 2 * columns_lost) return across(down(image));
  return down(across(image));
}

}  // namespace tephra::data
