// What is known of a picture in words: captions, and objects with their places. This is all that a teacher is shown.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::data {

struct PictureObject {
  std::string category;
  std::array<double, 4> box{};  // x1, y1, x2, y2 in parts of width and height
};

struct PictureFacts {
  std::string id;
  std::string image;  // path relative to the image root
  std::vector<std::string> captions;
  std::vector<PictureObject> objects;
};

// Input that cannot be used, with the reason; the rest is used.
struct RejectedInput {
  std::string id, reason, detail;
};

struct PictureFactsList {
  std::vector<PictureFacts> pictures;  // by file order; of several with one id the first
  std::vector<RejectedInput> rejected;
};

// COCO's annotation files as published: `captions_path` with images and annotations of captions, `instances_path` (may be empty)
// with boxes [x, y, width, height] in pixels and categories. Annotations are read one at a time: their polygons never are in
// memory together. A box that leaves its picture by at most a pixel is cut; another, or one without area, rejects its picture
// (reason "coordinates"); so does a picture without a caption ("no_caption").
// kNotFound, kIo: a file; kInvalidArgument: not of this layout, with the file and the place.
Result<PictureFactsList> load_coco(const std::string& captions_path, const std::string& instances_path);

// The same fields as JSON lines, one picture a line:
//   {"id": 9, "image": "000000000009.jpg", "width": 640, "height": 480, "captions": ["..."],
//    "objects": [{"category": "bowl", "bbox": [1.1, 187.7, 611.6, 285.9]}]}
// `image` may be called file_name, as in COCO; `objects` may be absent.
Result<PictureFactsList> load_picture_lines(const std::string& path);

// The text that a teacher is shown: the captions, an empty line, "category: [x1, y1, x2, y2]" with three decimals each.
std::string context_text(const PictureFacts& picture);

}  // namespace tephra::data
