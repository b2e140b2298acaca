#include "data/dataset_shapes.h"

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/random.h"
#include "data/dataset_folder.h"
#include "data/drawing.h"

namespace tephra::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormatVersion =
    1;  // of the words and pixels below; raise it when either changes, so that old folders are redone
constexpr int kTries = 50;  // for a second figure beside the first one

struct Color {
  const char* word;
  std::array<int, 3> low, high;  // each channel is drawn between these
};
constexpr Color kColors[] = {{"red", {205, 0, 0}, {255, 40, 40}},       {"green", {0, 130, 0}, {40, 255, 40}},
                             {"blue", {0, 0, 190}, {60, 60, 255}},      {"yellow", {225, 205, 0}, {255, 255, 60}},
                             {"teal", {0, 110, 110}, {20, 150, 150}},   {"gray", {115, 115, 115}, {145, 145, 145}},
                             {"black", {0, 0, 0}, {30, 30, 30}},        {"brown", {130, 40, 20}, {175, 70, 50}},
                             {"orange", {245, 130, 0}, {255, 170, 30}}, {"purple", {110, 0, 130}, {160, 40, 180}}};
constexpr const char* kFigureWords[] = {"circle", "rectangle", "triangle", "cross"};  // by Figure

// Half extents in thousandths of the picture's side. Between small and large is a gap, so that the words are never a matter of taste.
constexpr int kSmall[] = {80, 165}, kLarge[] = {185, 300};

int between(int low, int high, std::initializer_list<uint64_t> key) {
  return low + static_cast<int>(random_below(static_cast<uint64_t>(high - low) + 1, key));
}

struct Drawn {
  Figure figure = Figure::kCircle;
  const Color* color = kColors;
  bool large = false;
  Extent at;
};

Drawn drawn(uint64_t key, int size) {
  Drawn out;
  out.figure = static_cast<Figure>(random_below(std::size(kFigureWords), {key, 1}));
  out.color = &kColors[random_below(std::size(kColors), {key, 2})];
  out.large = random_below(2, {key, 3}) == 1;
  const int side = size * kSubPixels;
  const auto& range = out.large ? kLarge : kSmall;
  out.at.across = out.at.up = between(side * range[0] / 1000, side * range[1] / 1000, {key, 4});
  // Rectangles of all proportions down to a third, triangles up to a quarter flatter or steeper; the longer side makes the size.
  int& shorter = random_below(2, {key, 5}) == 0 ? out.at.across : out.at.up;
  if (out.figure == Figure::kRectangle) shorter = shorter * between(33, 100, {key, 6}) / 100;
  if (out.figure == Figure::kTriangle) shorter = shorter * between(75, 100, {key, 6}) / 100;
  out.at.x = between(out.at.across, side - out.at.across, {key, 7});
  out.at.y = between(out.at.up, side - out.at.up, {key, 8});
  return out;
}

bool touch(const Extent& a, const Extent& b) {
  return std::abs(a.x - b.x) <= a.across + b.across + kSubPixels && std::abs(a.y - b.y) <= a.up + b.up + kSubPixels;
}

std::string described(const Drawn& d, int size) {
  const int middle = size * kSubPixels / 2;
  return std::string(d.large ? "large " : "small ") + d.color->word + " " +
         kFigureWords[static_cast<size_t>(d.figure)] + " in the " + (d.at.y < middle ? "north" : "south") +
         (d.at.x < middle ? "west" : "east");
}

std::vector<Drawn> figures_of(uint64_t key, int size) {
  std::vector<Drawn> out{drawn(random_bits({key, 0}), size)};
  if (random_below(2, {key, 1}) == 0) return out;
  for (uint64_t attempt = 0; attempt < kTries; ++attempt) {
    const Drawn second = drawn(random_bits({key, 2, attempt}), size);
    if (touch(out[0].at, second.at)) continue;
    out.push_back(second);
    break;
  }
  return out;
}

Image picture_of(const std::vector<Drawn>& figures, uint64_t key, int size) {
  Image image{size, size, std::vector<uint8_t>(size_t{3} * size * size)};
  std::array<uint8_t, 3> background{};
  for (size_t c = 0; c < 3; ++c) background[c] = static_cast<uint8_t>(between(200, 255, {key, 3, c}));
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = background[i % 3];
  for (size_t n = 0; n < figures.size(); ++n) {
    std::array<int, 3> rgb{};
    for (size_t c = 0; c < 3; ++c)
      rgb[c] = between(figures[n].color->low[c], figures[n].color->high[c], {key, 4, n, c});
    fill(image, figures[n].figure, figures[n].at, rgb);
  }
  return image;
}

Status check_options(const ShapesDatasetOptions& o) {
  if (o.image_size < 16 || o.image_size > 1024)
    return {Code::kInvalidArgument, "image_size " + std::to_string(o.image_size) + " is not from 16 to 1024"};
  if (o.pictures < 1 || o.pictures > 1'000'000)
    return {Code::kInvalidArgument, "pictures " + std::to_string(o.pictures) + " is not from 1 to 1000000"};
  return ok_status();
}

Status write_all(Env& env, const ShapesDatasetOptions& options) {
  TEPHRA_RETURN_IF_ERROR(check_options(options));
  DatasetFolder folder(env, options.out_dir,
                       {{"format", kFormatVersion},
                        {"seed", options.seed},
                        {"image_size", options.image_size},
                        {"pictures", options.pictures}});
  TEPHRA_ASSIGN_OR_RETURN(const bool complete, folder.begin());
  if (complete) return ok_status();
  TEPHRA_RETURN_IF_ERROR(folder.make_directories("images"));
  Json samples = Json::array();
  for (int i = 0; i < options.pictures; ++i) {
    const uint64_t key = random_bits({key_of("data/shapes"), options.seed, static_cast<uint64_t>(i)});
    const std::vector<Drawn> figures = figures_of(key, options.image_size);
    const std::string image = numbered(i) + ".png";
    TEPHRA_RETURN_IF_ERROR(folder.write_picture("images/" + image, picture_of(figures, key, options.image_size)));
    std::string caption = "A " + described(figures[0], options.image_size);
    if (figures.size() > 1) caption += " and a " + described(figures[1], options.image_size);
    samples.push_back(sample_json("shapes-" + numbered(i), image, {{kDescribePrompts[i % 2], caption + "."}}));
  }
  TEPHRA_RETURN_IF_ERROR(folder.write("captions.json", json_lines(samples)));
  return folder.finish();
}

}  // namespace

Status write_shapes_dataset(Env& env, const ShapesDatasetOptions& options) {
  return write_all(env, options).with_context("shapes dataset");
}

}  // namespace tephra::data
