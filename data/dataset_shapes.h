// Drawn figures anywhere in a picture, in ten colors and many sizes, each with a caption: what a vision encoder can be trained on that
// is to see more than the quarters of the demo's scenes (scene_world.h).
#pragma once

#include <cstdint>
#include <string>

#include "base/env.h"
#include "base/status.h"

namespace tephra::data {

struct ShapesDatasetOptions {
  uint64_t seed = 1;
  int image_size = 64;   // pixels of a side, 16 to 1024
  int pictures = 20000;  // 1 to 1,000,000
  std::string out_dir;
};

// Makes the folder `options.out_dir`:
//   images/NNNNNN.png  one or two figures that do not touch, on a light background
//   captions.json      one LLaVA conversation of two turns for each picture, "<image>" with a describing prompt, and
//                      "A small teal rectangle in the northwest and a large gray circle in the southeast."
//   dataset.json       as DatasetFolder writes it
// Deterministic: equal options give equal bytes. A folder that is complete for these is left alone.
// kInvalidArgument: an option out of range. Blocks, seconds.
Status write_shapes_dataset(Env& env, const ShapesDatasetOptions& options);

}  // namespace tephra::data
