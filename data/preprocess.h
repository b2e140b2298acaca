// A picture turned into the vision tower's input, as transformers' CLIPImageProcessor does it (with LLaVA's
// expand2square for kPad).
#pragma once

#include <string>
#include <vector>

#include "base/hash.h"
#include "base/status.h"
#include "data/image.h"

namespace tephra::data {

enum class Aspect {
  kSquare,  // shorter edge to `shortest_edge`, then the centre
  kPad,     // first pasted into a square of the mean colour
};

struct PreprocessOptions {
  int image_size = 224;     // pixels of an edge of the result (crop_size)
  int shortest_edge = 224;  // pixels of the shorter edge before the crop; at least image_size
  float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
  float std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
  double mean_exact[3] = {0.48145466, 0.4578275, 0.40821073};  // for the fill colour int(mean * 255)
  double rescale = 1.0 / 255;
  Aspect aspect = Aspect::kSquare;
  std::string resample = "bicubic";  // the only one there is

  Hash128 hash() const;  // of everything above
};

// preprocessor_config.json of a folder, with sizes as numbers (old) or objects (new); aspect stays kSquare. kNotFound:
// no file. kInvalidArgument: a field of the wrong type. kUnsupported: another resampling, a step switched off, or a
// crop larger than the resize.
Result<PreprocessOptions> load_preprocess(const std::string& model_dir);

// "square" or "pad".
Result<Aspect> parse_aspect(const std::string& name);

// [3, image_size, image_size] float32, channel-major. Pure.
std::vector<float> preprocess(const Image& image, const PreprocessOptions& options);

}  // namespace tephra::data
