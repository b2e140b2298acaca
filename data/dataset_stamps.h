// Captioned pictures from Tux Paint's stamps (Debian package tuxpaint-stamps-default): PNG files with exact opacity,
// each beside a text file whose first line is its caption in English. A stamp is pasted at several places and sizes on
// backgrounds of several kinds, so that a caption says what is in the picture and not what the picture is.
#pragma once

#include <cstdint>
#include <string>

#include "base/env.h"
#include "base/status.h"

namespace tephra::data {

struct StampDatasetOptions {
  std::string path;  // folder of the stamps; read with all its sub-folders
  uint64_t seed = 1;
  int image_size = 64;  // pixels of a side, 16 to 1024
  int copies = 4;       // pictures of each stamp, 1 to 1000
  std::string out_dir;
};

// Makes the folder `options.out_dir`:
//   images/NNNNNN.png
//   captions.json   one LLaVA conversation of two turns for each picture, "<image>" with a describing prompt, and the
//                   caption
//   boxes.json      [{"image", "width", "height", "caption", "stamp", "background", "box": [x0, y0, x1, y1]}]; a box is
//                   half-open and holds each pixel that the stamp covers by an eighth or more
//   dataset.json    as DatasetFolder writes it: of what, and how many stamps were used and left out
// Left out: stamps without an English caption, and such that a picture of this size shows nothing of.
// Deterministic: equal stamps and options give equal bytes. A folder that is complete for these is left alone.
// kInvalidArgument: an option out of range. kNotFound: no folder `path`, or no captioned stamp in it. kCorruption: a
// stamp that does not decode. Each names the file and what to do. Blocks, seconds.
Status write_stamp_dataset(Env& env, const StampDatasetOptions& options);

}  // namespace tephra::data
