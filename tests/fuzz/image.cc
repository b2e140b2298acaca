// Bytes are refused, or become a picture of the size that they say, which the preprocessing takes.
#include <algorithm>
#include <cstdlib>

#include "data/image.h"
#include "data/preprocess.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto image = tephra::data::decode_image({reinterpret_cast<const std::byte*>(bytes), size}, "fuzz");
  if (!image.ok()) return 0;
  if (image->width < 1 || image->height < 1 ||
      image->rgb.size() != size_t{3} * static_cast<size_t>(image->width) * static_cast<size_t>(image->height))
    std::abort();
  if (std::max(image->width, image->height) > 2048) return 0;  // slow, and nothing new
  tephra::data::PreprocessOptions options;
  options.image_size = options.shortest_edge = 16;
  for (const auto aspect : {tephra::data::Aspect::kSquare, tephra::data::Aspect::kPad}) {
    options.aspect = aspect;
    if (tephra::data::preprocess(*image, options).size() != 3 * 16 * 16) std::abort();
  }
  return 0;
}
