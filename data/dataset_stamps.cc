#include "data/dataset_stamps.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/hash.h"
#include "base/random.h"
#include "data/dataset_folder.h"
#include "data/image.h"

namespace tephra::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormatVersion =
    1;  // of the words and pixels below; raise it when either changes, so that old folders are redone
constexpr const char* kInstallIt =
    "; install the Debian package tuxpaint-stamps-default, or name the folder that has the stamps";
constexpr int kSeen =
    32;  // opacity from which a pixel counts as the stamp's: thin lines of a shrunken stamp stay in the box
constexpr int kSmallestPart = 50;  // percent of the picture's side that a stamp's longer side takes, at least
constexpr int kLargestPart = 95;
constexpr int kBackgroundTries = 4;

struct Stamp {
  std::string name;  // "animals/cat.png"
  std::string caption;
  std::string bytes;  // of the PNG file
};

struct Box {
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  bool empty() const { return x1 <= x0 || y1 <= y0; }
};

// Smallest box around all pixels of at least kSeen.
Box box_of(const std::vector<uint8_t>& alpha, int width, int height) {
  Box box{width, height, 0, 0};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      if (alpha[static_cast<size_t>(y) * width + x] >= kSeen)
        box = {std::min(box.x0, x), std::min(box.y0, y), std::max(box.x1, x + 1), std::max(box.y1, y + 1)};
  return box;
}

// (a * b) / 255, rounded; a and b from 0 to 255.
int scaled(int a, int b) { return (a * b + 127) / 255; }

// The part of a stamp that is seen, as two pictures of the same size: colours times opacity, and opacity (three times,
// so that the same resize serves both). Resampling colours by themselves would mix in those of clear pixels, which are
// arbitrary.
struct Cutout {
  Image colors, opacity;
};

Cutout cut_out(const ImageWithAlpha& stamp, const Box& box) {
  const int width = box.x1 - box.x0, height = box.y1 - box.y0;
  const size_t bytes = size_t{3} * width * height;
  Cutout out{{width, height, std::vector<uint8_t>(bytes)}, {width, height, std::vector<uint8_t>(bytes)}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const size_t from = static_cast<size_t>(box.y0 + y) * stamp.image.width + box.x0 + x;
      const size_t to = 3 * (static_cast<size_t>(y) * width + x);
      for (size_t c = 0; c < 3; ++c) {
        out.colors.rgb[to + c] = static_cast<uint8_t>(scaled(stamp.image.rgb[3 * from + c], stamp.alpha[from]));
        out.opacity.rgb[to + c] = stamp.alpha[from];
      }
    }
  }
  return out;
}

using Color = std::array<int, 3>;

// Mean over what is covered.
Color mean_color(const Cutout& stamp) {
  std::array<int64_t, 3> sum{};
  int64_t weight = 0;
  for (size_t i = 0; i < stamp.colors.rgb.size(); ++i) sum[i % 3] += stamp.colors.rgb[i];
  for (size_t i = 0; i < stamp.opacity.rgb.size(); i += 3) weight += stamp.opacity.rgb[i];
  Color mean{};
  for (size_t c = 0; c < 3; ++c)
    mean[c] = static_cast<int>(std::min<int64_t>(255, sum[c] * 255 / std::max<int64_t>(1, weight)));
  return mean;
}

class Background {
 public:
  // The most different of a few colours from the stamp's mean, so that few stamps vanish in it.
  Background(uint64_t key, const Color& stamp)
      : key_(key), kind_(random_below(3, {key, 1})), way_(random_below(4, {key, 2})) {
    for (uint64_t end = 0; end < 2; ++end) {
      int farthest = -1;
      for (uint64_t i = 0; i < kBackgroundTries; ++i) {
        Color color;
        int distance = 0;
        for (uint64_t c = 0; c < 3; ++c) {
          color[c] = static_cast<int>(random_below(256, {key, 3, end, i, c}));
          distance += std::abs(color[c] - stamp[c]);
        }
        if (distance <= farthest) continue;
        farthest = distance;
        ends_[end] = color;
      }
    }
  }

  const char* name() const { return kind_ == 0 ? "plain" : kind_ == 1 ? "gradient" : "noise"; }

  Color at(int x, int y, int size) const {
    if (kind_ == 0) return ends_[0];
    const int last = std::max(1, size - 1);
    const int along[] = {x, y, (x + y) / 2, (x + last - y) / 2};  // left to right, down, and the two diagonals
    const uint64_t pixel = static_cast<uint64_t>(y) * static_cast<uint64_t>(size) + static_cast<uint64_t>(x);
    const int part = kind_ == 1 ? 255 * along[way_] / last : static_cast<int>(random_below(256, {key_, 4, pixel}));
    Color color;
    for (size_t c = 0; c < 3; ++c) color[c] = scaled(ends_[0][c], 255 - part) + scaled(ends_[1][c], part);
    return color;
  }

 private:
  uint64_t key_, kind_, way_;
  std::array<Color, 2> ends_;
};

struct Pasted {
  Image image;
  Box box;
  const char* background = "";
};

Pasted paste(const Cutout& stamp, int size, uint64_t key) {
  const int part = kSmallestPart + static_cast<int>(random_below(kLargestPart - kSmallestPart + 1, {key, 5}));
  const int side = std::max(1, size * part / 100), longer = std::max(stamp.colors.width, stamp.colors.height);
  const int width = std::max(1, stamp.colors.width * side / longer),
            height = std::max(1, stamp.colors.height * side / longer);
  const Image colors = resize_bicubic(stamp.colors, width, height),
              opacity = resize_bicubic(stamp.opacity, width, height);
  const int left = static_cast<int>(random_below(static_cast<uint64_t>(size - width) + 1, {key, 6}));
  const int top = static_cast<int>(random_below(static_cast<uint64_t>(size - height) + 1, {key, 7}));
  const Background background(key, mean_color(stamp));
  const size_t pixels = static_cast<size_t>(size) * size;
  Pasted out{{size, size, std::vector<uint8_t>(3 * pixels)}, {}, background.name()};
  std::vector<uint8_t> covered(pixels);
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      const Color behind = background.at(x, y, size);
      const size_t to = static_cast<size_t>(y) * size + x;
      const bool inside = x >= left && x < left + width && y >= top && y < top + height;
      const size_t from = inside ? 3 * (static_cast<size_t>(y - top) * width + (x - left)) : 0;
      covered[to] = inside ? opacity.rgb[from] : 0;
      for (size_t c = 0; c < 3; ++c) {
        // The two resized pictures are rounded and overshoot by themselves, so their sum may pass 255 by a little.
        const int value = (inside ? colors.rgb[from + c] : 0) + scaled(behind[c], 255 - covered[to]);
        out.image.rgb[3 * to + c] = static_cast<uint8_t>(std::min(value, 255));
      }
    }
  }
  out.box = box_of(covered, size, size);
  return out;
}

// The first line of the stamp's text file, or empty: Tux Paint has the English caption there, and translations below it
// as "de.utf8=...".
std::string english_caption(const std::string& text) {
  std::string line = text.substr(0, text.find('\n'));
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.pop_back();
  return line.find(".utf8=") == std::string::npos ? line : "";
}

Result<std::vector<std::string>> png_files(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator at(path, error), end;
  for (; !error && at != end; at.increment(error))
    if (at->path().extension() == ".png") names.push_back(at->path().lexically_relative(path).generic_string());
  if (error) return Status(Code::kNotFound, path + " cannot be read: " + error.message() + kInstallIt);
  std::sort(names.begin(), names.end());
  return names;
}

class Writer {
 public:
  Writer(Env& env, const StampDatasetOptions& options) : env_(env), options_(options) {}

  Status write_all() {
    TEPHRA_RETURN_IF_ERROR(read_stamps());
    DatasetFolder folder(env_, options_.out_dir,
                         {{"format", kFormatVersion},
                          {"stamps", source_.digest().hex()},
                          {"seed", options_.seed},
                          {"image_size", options_.image_size},
                          {"copies", options_.copies}});
    TEPHRA_ASSIGN_OR_RETURN(const bool complete, folder.begin());
    if (complete) return ok_status();
    TEPHRA_RETURN_IF_ERROR(folder.make_directories("images"));
    for (size_t i = 0; i < stamps_.size(); ++i) TEPHRA_RETURN_IF_ERROR(add_pictures(folder, i));
    counts_["pictures"] = static_cast<int64_t>(captions_.size());
    TEPHRA_RETURN_IF_ERROR(folder.write("captions.json", json_lines(captions_)));
    TEPHRA_RETURN_IF_ERROR(folder.write("boxes.json", json_lines(boxes_)));
    return folder.finish(counts_);
  }

 private:
  Status read_stamps() {
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<std::string> names, png_files(options_.path));
    counts_["without_caption"] = counts_["without_pixels"] = counts_["used"] = 0;
    for (const std::string& name : names) {
      const std::string file = options_.path + "/" + name, text_file = file.substr(0, file.size() - 4) + ".txt";
      Stamp stamp{name, "", ""};
      if (env_.exists(text_file)) {
        TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(env_, text_file));
        stamp.caption = english_caption(text);
      }
      if (stamp.caption.empty()) {
        ++counts_["without_caption"];
        continue;
      }
      TEPHRA_ASSIGN_OR_RETURN(stamp.bytes, read_file(env_, file));
      for (const std::string* part : {&stamp.name, &stamp.caption, &stamp.bytes}) {
        source_.update(std::to_string(part->size()) + ":");
        source_.update(*part);
      }
      stamps_.push_back(std::move(stamp));
    }
    if (!stamps_.empty()) return ok_status();
    return {Code::kNotFound,
            "no PNG file below " + options_.path + " has a text file with an English caption beside it" + kInstallIt};
  }

  // None when one of them shows nothing: the stamp's lines are too thin for the size.
  std::vector<Pasted> make_copies(const std::string& name, const ImageWithAlpha& picture) const {
    const Box seen = box_of(picture.alpha, picture.image.width, picture.image.height);
    if (seen.empty()) return {};
    const Cutout cutout = cut_out(picture, seen);
    std::vector<Pasted> out;
    for (int copy = 0; copy < options_.copies; ++copy) {
      // Keyed by the stamp's name, so that a stamp more or less in the folder leaves the others' pictures as they are.
      const uint64_t key =
          random_bits({key_of("data/stamps"), options_.seed, key_of(name), static_cast<uint64_t>(copy)});
      out.push_back(paste(cutout, options_.image_size, key));
      if (out.back().box.empty()) return {};
    }
    return out;
  }

  Status add_pictures(DatasetFolder& folder, size_t index) {
    const Stamp& stamp = stamps_[index];
    const auto picture = decode_with_alpha(std::as_bytes(std::span(stamp.bytes)), options_.path + "/" + stamp.name);
    if (!picture.ok()) return {picture.status().code(), picture.status().message() + kInstallIt};
    const std::vector<Pasted> copies = make_copies(stamp.name, *picture);
    ++counts_[copies.empty() ? "without_pixels" : "used"];
    for (size_t copy = 0; copy < copies.size(); ++copy) {
      const Pasted& pasted = copies[copy];
      const std::string number = numbered(static_cast<int64_t>(captions_.size())), image = number + ".png";
      TEPHRA_RETURN_IF_ERROR(folder.write_picture("images/" + image, pasted.image));
      captions_.push_back(sample_json("stamp-" + number, image, {{kDescribePrompts[copy % 2], stamp.caption}}));
      boxes_.push_back({{"image", image},
                        {"width", options_.image_size},
                        {"height", options_.image_size},
                        {"caption", stamp.caption},
                        {"stamp", stamp.name},
                        {"background", pasted.background},
                        {"box", {pasted.box.x0, pasted.box.y0, pasted.box.x1, pasted.box.y1}}});
    }
    return ok_status();
  }

  Env& env_;
  const StampDatasetOptions& options_;
  std::vector<Stamp> stamps_;
  Hasher source_;  // over what is used of the stamps' folder
  std::map<std::string, int64_t> counts_;
  Json captions_ = Json::array(), boxes_ = Json::array();
};

Status check_options(const StampDatasetOptions& o) {
  if (o.image_size < 16 || o.image_size > 1024)
    return {Code::kInvalidArgument, "image_size " + std::to_string(o.image_size) + " is not from 16 to 1024"};
  if (o.copies < 1 || o.copies > 1000)
    return {Code::kInvalidArgument, "copies " + std::to_string(o.copies) + " is not from 1 to 1000"};
  return ok_status();
}

}  // namespace

Status write_stamp_dataset(Env& env, const StampDatasetOptions& options) {
  Status status = check_options(options);
  if (status.ok()) status = Writer(env, options).write_all();
  return status.with_context("stamps dataset " + options.path);
}

}  // namespace tephra::data
