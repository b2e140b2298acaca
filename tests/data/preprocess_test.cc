// Pixels equal transformers' CLIPImageProcessor with Pillow: the recorded tensors, and what the steps must do to
// pictures made here.
#include "data/preprocess.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "tests/base/peer_python.h"
#include "tests/data/picture.h"
#include "tests/data/reference.h"

namespace tephra::data {
namespace {

// Just enough of safetensors for the recorded tensors: float32, whole file in memory.
struct Tensors {
  std::string bytes;
  nlohmann::json header;
  size_t data = 0;
  explicit Tensors(const std::string& path) : bytes(*read_file(Env::posix(), path)) {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), 8);
    header = nlohmann::json::parse(bytes.substr(8, size));
    data = 8 + size;
  }
  std::vector<float> get(const std::string& name) const {
    const size_t begin = header[name]["data_offsets"][0], end = header[name]["data_offsets"][1];
    std::vector<float> values((end - begin) / 4);
    std::memcpy(values.data(), bytes.data() + data + begin, end - begin);
    return values;
  }
};

TEST(Preprocess, EqualsTheRecordedTensors) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  const Tensors tensors(dir + "/preprocess.safetensors");
  int compared = 0;
  double worst = 0;
  for (const auto& [name, entry] : tensors.header.items()) {
    if (name == "__metadata__") continue;
    const size_t first = name.find('.'), last = name.rfind('.');
    const std::string processor = name.substr(0, first), image_name = name.substr(first + 1, last - first - 1);
    auto options = load_preprocess(dir + "/" + processor);
    ASSERT_TRUE(options.ok()) << options.status().to_string();
    options->aspect = *parse_aspect(name.substr(last + 1));
    std::string path = dir + "/images/" + image_name;
    for (const char* extension : {".jpg", ".png"}) {
      if (!std::filesystem::exists(path) && std::filesystem::exists(path + extension)) path += extension;
    }
    auto image = load_image(path);
    ASSERT_TRUE(image.ok()) << name << image.status().to_string();
    const std::vector<float> expected = tensors.get(name), actual = preprocess(*image, *options);
    ASSERT_EQ(actual.size(), expected.size()) << name;
    double largest = 0;
    for (size_t i = 0; i < actual.size(); ++i) largest = std::max<double>(largest, std::fabs(actual[i] - expected[i]));
    EXPECT_LE(largest, 1e-5) << name;
    worst = std::max(worst, largest);
    ++compared;
  }
  EXPECT_EQ(compared, 32);  // 8 photos, 2 processors, 2 aspects
  RecordProperty("largest_difference", std::to_string(worst));
}

// Every kind of picture, against Pillow itself.
TEST(Preprocess, EqualsPillowOnEveryKindOfPicture) {
  TEPHRA_REQUIRE_PEER_PYTHON("Pillow");
  TempDir dir;
  std::vector<uint16_t> samples;
  for (int i = 0; i < 40 * 30 * 4; ++i) samples.push_back(static_cast<uint16_t>(i * 2654435761u >> 16));
  dir.write("images/rgb16.png", write_png16(40, 30, PNG_COLOR_TYPE_RGB, samples));
  dir.write("images/rgb16i.png", write_png16(40, 30, PNG_COLOR_TYPE_RGB, samples, PNG_INTERLACE_ADAM7));
  dir.write("images/rgba16.png", write_png16(40, 30, PNG_COLOR_TYPE_RGB_ALPHA, samples));
  dir.write("images/la16.png", write_png16(40, 30, PNG_COLOR_TYPE_GRAY_ALPHA, samples));
  ASSERT_TRUE(peer_script("data/pillow_pixels.py", dir.path(), dir.path() + "/log"));
  PreprocessOptions options;
  options.image_size = options.shortest_edge = 20;
  int compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() + "/images")) {
    const std::string name = entry.path().filename().string();
    auto image = load_image(entry.path().string());
    ASSERT_TRUE(image.ok()) << image.status().to_string();
    for (const char* aspect : {"square", "pad"}) {
      options.aspect = *parse_aspect(aspect);
      const auto recorded = read_file(Env::posix(), dir.path() + "/" + name + "." + aspect);
      if (!recorded.ok()) continue;
      const std::string& bytes = *recorded;
      std::vector<float> expected(bytes.size() / sizeof(float));
      std::memcpy(expected.data(), bytes.data(), bytes.size());
      const std::vector<float> actual = preprocess(*image, options);
      ASSERT_EQ(actual.size(), expected.size()) << name;
      double largest = 0;
      for (size_t i = 0; i < actual.size(); ++i)
        largest = std::max<double>(largest, std::fabs(actual[i] - expected[i]));
      EXPECT_LE(largest, 1e-5) << name << " " << aspect;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 2 * 23 - 2);
}

// A strip of 20,000 columns is resized only where it is looked at: the whole would have 20 x 133,333 or, padded,
// 20,000 x 20,000 pixels. Only its middle columns count, so a shorter strip with the same middle is the same.
TEST(Preprocess, AStripIsItsMiddle) {
  Image strip{20000, 3, {}}, middle{600, 3, {}};
  for (int y = 0; y < 3; ++y)
    for (int x = 0; x < 20000; ++x)
      for (int c = 0; c < 3; ++c) {
        const auto value = static_cast<uint8_t>((x * 37 + y * 91 + c * 53) % 256);
        strip.rgb.push_back(value);
        if (x >= 9700 && x < 10300) middle.rgb.push_back(value);
      }
  PreprocessOptions options;
  options.image_size = options.shortest_edge = 21;
  EXPECT_EQ(preprocess(strip, options), preprocess(middle, options));
  options.aspect = Aspect::kPad;
  const std::vector<float> padded = preprocess(strip, options);
  // Three of 20,000 rows: nothing but the fill is seen.
  for (int c = 0; c < 3; ++c)
    EXPECT_NEAR(padded[c * 441], (std::floor(options.mean_exact[c] * 255) / 255 - options.mean[c]) / options.std[c],
                1e-5);
}

TEST(Preprocess, ReadsOldAndNewFiles) {
  TempDir dir;
  EXPECT_EQ(load_preprocess(dir.path()).status().code(), Code::kNotFound);
  dir.write(
      "preprocessor_config.json",
      R"({"size": 42, "crop_size": 40, "resample": 3, "image_mean": [0.5, 0.5, 0.25], "image_std": [1, 1, 0.5]})");
  auto old = load_preprocess(dir.path());
  ASSERT_TRUE(old.ok()) << old.status().to_string();
  EXPECT_EQ(old->shortest_edge, 42);
  EXPECT_EQ(old->image_size, 40);
  EXPECT_EQ(old->mean[2], 0.25f);
  EXPECT_EQ(old->std[2], 0.5f);
  dir.write("preprocessor_config.json",
            R"({"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}, "do_rescale": true})");
  auto fresh = load_preprocess(dir.path());
  ASSERT_TRUE(fresh.ok()) << fresh.status().to_string();
  EXPECT_EQ(fresh->image_size, 40);
  EXPECT_NE(fresh->hash(), old->hash());
}

TEST(Preprocess, RefusesFilesThatMeanSomethingElse) {
  TempDir dir;
  auto code_of = [&](const std::string& text) {
    dir.write("preprocessor_config.json", text);
    return load_preprocess(dir.path()).status().code();
  };
  EXPECT_EQ(code_of("{"), Code::kCorruption);
  EXPECT_EQ(code_of("{}"), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R"({"size": 0})"), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R"({"size": {"height": 40, "width": 42}})"), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R"({"size": 40, "resample": 2})"), Code::kUnsupported);
  EXPECT_EQ(code_of(R"({"size": 40, "do_normalize": false})"), Code::kUnsupported);
  EXPECT_EQ(code_of(R"({"size": 40, "crop_size": 50})"), Code::kUnsupported);
  EXPECT_EQ(code_of(R"({"size": 40, "image_std": [1, 0, 1]})"), Code::kInvalidArgument);
  EXPECT_EQ(code_of(R"({"size": 40, "image_mean": [1, "x", 1]})"), Code::kInvalidArgument);
}

// `size` x `size` pixels of `image` from (left, top).
Image square_of(const Image& image, int left, int top, int size) {
  Image out{size, size, {}};
  for (int y = 0; y < size; ++y) {
    const auto row = image.rgb.begin() + 3 * ((top + y) * image.width + left);
    out.rgb.insert(out.rgb.end(), row, row + 3 * size);
  }
  return out;
}

TEST(Preprocess, NormalizesWhatItNeedNotResize) {
  PreprocessOptions options;
  options.image_size = options.shortest_edge = 10;
  for (const auto& [width, height, left, top] :
       {std::array{10, 10, 0, 0}, {17, 10, 3, 0}, {10, 25, 0, 7}}) {  // the crop starts at the rounded-down middle
    const Image image = gradient(width, height), kept = square_of(image, left, top, 10);
    const std::vector<float> out = preprocess(image, options);
    ASSERT_EQ(out.size(), 300u);
    for (size_t c = 0; c < 3; ++c)
      for (size_t i = 0; i < 100; ++i)
        EXPECT_NEAR(out[100 * c + i], (kept.rgb[3 * i + c] / 255.0 - options.mean[c]) / options.std[c], 1e-6)
            << c << " " << i;
  }
}

TEST(Preprocess, PaddingIsPastingIntoTheMeanColourFirst) {
  PreprocessOptions options;
  options.image_size = options.shortest_edge = 12;
  for (const auto& [width, height] : {std::pair{31, 20}, {20, 31}, {7, 9}, {40, 40}}) {
    const Image image = gradient(width, height);
    const int side = std::max(width, height);
    Image square{side, side, {}};
    for (int i = 0; i < side * side; ++i) square.rgb.insert(square.rgb.end(), {122, 116, 104});
    for (int y = 0; y < height; ++y)
      std::copy_n(image.rgb.begin() + 3 * y * width, 3 * width,
                  square.rgb.begin() + 3 * ((y + (side - height) / 2) * side + (side - width) / 2));
    options.aspect = Aspect::kSquare;
    const std::vector<float> expected = preprocess(square, options);
    options.aspect = Aspect::kPad;
    EXPECT_EQ(preprocess(image, options), expected) << width << "x" << height;
  }
}

TEST(Preprocess, PadsWithTheMeanAndCropsTheCentre) {
  Image wide{8, 4, std::vector<uint8_t>(96, 255)};
  PreprocessOptions options;
  options.image_size = options.shortest_edge = 8;
  options.aspect = Aspect::kPad;
  const std::vector<float> padded = preprocess(wide, options);
  EXPECT_NEAR(padded[0], 0.0, 0.02);  // the fill is int(mean * 255), so nearly the mean
  EXPECT_NEAR(padded[4 * 8 + 4], (1 - options.mean[0]) / options.std[0], 1e-6);
  options.aspect = Aspect::kSquare;
  for (int c = 0; c < 3; ++c)
    EXPECT_NEAR(preprocess(wide, options)[c * 64], (1 - options.mean[c]) / options.std[c], 1e-6);
  // Extreme shapes neither crash nor lose the size.
  for (auto [w, h] : {std::pair{1, 1}, {1, 500}, {500, 1}, {8, 8}, {1, 4000}}) {
    for (Aspect aspect : {Aspect::kSquare, Aspect::kPad}) {
      options.aspect = aspect;
      EXPECT_EQ(preprocess(gradient(w, h), options).size(), 192u);
    }
  }
  // 5.5 million columns of 336 pixels, of which 336 are looked at.
  options = {.image_size = 336, .shortest_edge = 336};
  EXPECT_EQ(preprocess(gradient(16384, 1), options).size(), size_t{3} * 336 * 336);
}

}  // namespace
}  // namespace tephra::data
