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

// For each of `count` output pixels of one axis from `begin` on: which input pixels, and their integer weights.
struct Weights {
  int taps = 0;  // room per output pixel
  std::vector<int> first, count;
  std::vector<int32_t> values;

  const int32_t* of(int output) const { return values.data() + static_cast<size_t>(output) * taps; }
};

Weights weights_for(int in, int out, int begin, int outputs) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);  // antialias when shrinking only
  const double support = kSupport * filter_scale;
  Weights w;
  w.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  w.first.resize(outputs);
  w.count.resize(outputs);
  w.values.assign(static_cast<size_t>(outputs) * w.taps, 0);
  std::vector<double> row(w.taps);
  for (int o = 0; o < outputs; ++o) {
    const double center = (begin + o + 0.5) * scale;
    // Rounded as Pillow does it: half added, then cut toward zero.
    const double low = center - support + 0.5, high = center + support + 0.5;
    const int first = std::max(static_cast<int>(low), 0);
    const int count = std::min(static_cast<int>(high), in) - first;
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

void resize_row(const uint8_t* row, const Weights& w, uint8_t* target) {
  for (size_t x = 0; x < w.first.size(); ++x, target += 3) {
    int32_t sum[3] = {1 << (kWeightBits - 1), 1 << (kWeightBits - 1), 1 << (kWeightBits - 1)};
    const uint8_t* source = row + size_t{3} * w.first[x];
    const int32_t* weight = w.of(static_cast<int>(x));
    for (int i = 0; i < w.count[x]; ++i, source += 3) {
      for (int c = 0; c < 3; ++c) sum[c] += source[c] * weight[i];
    }
    for (int c = 0; c < 3; ++c) target[c] = clip8(sum[c]);
  }
}

Image empty_image(size_t width, size_t height) {
  return {static_cast<int>(width), static_cast<int>(height), std::vector<uint8_t>(3 * width * height)};
}

// Rows [begin, end) of the canvas, resized across.
Image resize_across(const Canvas& canvas, const Weights& w, int begin, int end) {
  Image out = empty_image(w.first.size(), static_cast<size_t>(end - begin));
  const size_t stride = 3 * w.first.size(), own = size_t{3} * canvas.image.width;
  const bool bare = canvas.image.width == canvas.width;
  std::vector<uint8_t> wide(bare ? 0 : size_t{3} * canvas.width);
  std::vector<uint8_t> blank;  // a row without the picture, resized
  const auto fill = [&](std::vector<uint8_t>& row) {
    for (size_t i = 0; i < row.size(); ++i) row[i] = canvas.fill[i % 3];
  };
  fill(wide);
  for (int y = begin; y < end; ++y) {
    uint8_t* target = out.rgb.data() + stride * (y - begin);
    const int from = y - canvas.top;
    if (from < 0 || from >= canvas.image.height) {
      if (blank.empty()) {
        std::vector<uint8_t> row(size_t{3} * canvas.width);
        fill(row);
        blank.resize(stride);
        resize_row(row.data(), w, blank.data());
      }
      std::copy(blank.begin(), blank.end(), target);
      continue;
    }
    const uint8_t* row = canvas.image.rgb.data() + own * from;
    if (!bare) std::copy(row, row + own, wide.data() + size_t{3} * canvas.left);
    resize_row(bare ? row : wide.data(), w, target);
  }
  return out;
}

// `image` holds the rows from `first_row` on.
Image resize_down(const Image& image, const Weights& w, int first_row) {
  const size_t stride = size_t{3} * image.width;
  Image out = empty_image(static_cast<size_t>(image.width), w.first.size());
  std::vector<int32_t> sum(stride);
  for (size_t y = 0; y < w.first.size(); ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kWeightBits - 1));
    for (int i = 0; i < w.count[y]; ++i) {
      const uint8_t* row = image.rgb.data() + stride * (w.first[y] + i - first_row);
      const int32_t weight = w.of(static_cast<int>(y))[i];
      for (size_t x = 0; x < stride; ++x) sum[x] += row[x] * weight;
    }
    uint8_t* target = out.rgb.data() + stride * y;
    for (size_t x = 0; x < stride; ++x) target[x] = clip8(sum[x]);
  }
  return out;
}

}  // namespace

Image resize_bicubic(const Canvas& canvas, int width, int height, const Window& window) {
  const Image& image = canvas.image;
  TEPHRA_CHECK(width > 0 && height > 0 && image.width > 0 && image.height > 0,
               "resize of or to a picture without pixels");
  TEPHRA_CHECK(window.left >= 0 && window.top >= 0 && window.left + window.width <= width &&
                   window.top + window.height <= height,
               "a window outside the resized picture");
  const Weights across = weights_for(canvas.width, width, window.left, window.width),
                down = weights_for(canvas.height, height, window.top, window.height);
  // Since version 13 Pillow takes the vertical pass first when more than twice as many rows as columns go away; the
  // rounding between the passes makes that visible, by up to 8 levels in a tall photo. (A square canvas loses as many of
  // each.)
  const int rows_lost = canvas.height - height;
  const int columns_lost = canvas.width - width;
  if (rows_lost > 0 && rows_lost > 2 * columns_lost) {
    TEPHRA_CHECK(image.width == canvas.width && image.height == canvas.height, "a padded canvas that is not square");
    const Image flat = resize_down(image, down, 0);
    return resize_across({flat, flat.width, flat.height, 0, 0, {}}, across, 0, flat.height);
  }
  const int begin = down.first.front(), end = down.first.back() + down.count.back();
  return resize_down(resize_across(canvas, across, begin, end), down, begin);
}

Image resize_bicubic(const Image& image, int width, int height) {
  return resize_bicubic({image, image.width, image.height, 0, 0, {}}, width, height, {0, 0, width, height});
}

}  // namespace tephra::data
