// Pixels equal transformers' CLIPImageProcessor with Pillow: the recorded tensors, and what the steps must do to
// pictures made here.
#include "data/preprocess.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

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
  for (auto [w, h] : {std::pair{1, 1}, {1, 500}, {500, 1}, {8, 8}}) {
    for (Aspect aspect : {Aspect::kSquare, Aspect::kPad}) {
      options.aspect = aspect;
      EXPECT_EQ(preprocess(gradient(w, h), options).size(), 192u);
    }
  }
}

}  // namespace
}  // namespace tephra::data
