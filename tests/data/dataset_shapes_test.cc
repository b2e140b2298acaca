// Captions say what is drawn, where; pictures and words are the same bytes each time.
#include "data/dataset_shapes.h"

#include <gmock/gmock.h>

#include <set>
#include <sstream>

#include "data/conversation.h"
#include "data/image.h"
#include "data/prepared.h"
#include "tests/data/folder.h"

namespace tephra::data {
namespace {

using ::testing::HasSubstr;

class Shapes : public FolderTest {
 protected:
  Status make(const std::string& folder, int pictures = 40, uint64_t seed = 1) const {
    return write_shapes_dataset(Env::posix(), {seed, 64, pictures, root_ + "/" + folder});
  }
};

struct Pixel {
  int r, g, b;
};

Pixel pixel(const Image& image, int x, int y) {
  const uint8_t* p = &image.rgb[static_cast<size_t>(y * image.width + x) * 3];
  return {p[0], p[1], p[2]};
}

// Words of a caption whose order is fixed: "A small teal rectangle in the northwest."
std::vector<std::string> words(std::string caption) {
  caption.pop_back();
  std::istringstream in(caption);
  return {std::istream_iterator<std::string>(in), {}};
}

TEST_F(Shapes, TheCaptionNamesPlaceAndColorOfWhatIsThere) {
  ASSERT_TRUE(make("a", 400).ok());
  const auto samples = load_conversations(root_ + "/a/captions.json");
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  ASSERT_EQ(samples->size(), 400u);
  std::set<std::string> colors, figures, places;
  int alone = 0;
  for (const Sample& sample : *samples) {
    const auto said = words(sample.turns[1].value);
    colors.insert(said[2]);
    figures.insert(said[3]);
    places.insert(said[6]);
    if (said.size() > 7) continue;
    ++alone;
    const auto image = load_image(root_ + "/a/images/" + sample.images.at(0));
    ASSERT_TRUE(image.ok());
    // All that differs much from the background, by its middle.
    const Pixel behind = pixel(*image, 0, 0);
    int x0 = 64, x1 = 0, y0 = 64, y1 = 0;
    for (int y = 0; y < 64; ++y) {
      for (int x = 0; x < 64; ++x) {
        const Pixel p = pixel(*image, x, y);
        if (std::max({std::abs(p.r - behind.r), std::abs(p.g - behind.g), std::abs(p.b - behind.b)}) < 20) continue;
        x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y);
      }
    }
    const double x = (x0 + x1 + 1) / 2.0, y = (y0 + y1 + 1) / 2.0;
    if (std::abs(x - 32) > 1) {
      EXPECT_EQ(said[6].ends_with("west"), x < 32) << sample.turns[1].value;
    }
    if (std::abs(y - 32) > 1) {
      EXPECT_EQ(said[6].starts_with("north"), y < 32) << sample.turns[1].value;
    }
    EXPECT_EQ(said[1] == "large", std::max(x1 - x0, y1 - y0) + 1 > 22) << sample.turns[1].value;
    const Pixel p = pixel(*image, static_cast<int>(x), static_cast<int>(y));
    if (said[2] == "red") {
      EXPECT_TRUE(p.r > 150 && p.g < 90 && p.b < 90) << sample.images.at(0);
    }
    if (said[2] == "blue") {
      EXPECT_TRUE(p.b > 150 && p.r < 90 && p.g < 90) << sample.images.at(0);
    }
    if (said[2] == "black") {
      EXPECT_TRUE(p.r < 60 && p.g < 60 && p.b < 60) << sample.images.at(0);
    }
  }
  EXPECT_EQ(colors.size(), 10u);
  EXPECT_EQ(figures, (std::set<std::string>{"circle", "cross", "rectangle", "triangle"}));
  EXPECT_EQ(places, (std::set<std::string>{"northwest", "northeast", "southwest", "southeast"}));
  EXPECT_GT(alone, 120);
  EXPECT_LT(alone, 280);
}

TEST_F(Shapes, EqualOptionsGiveEqualBytes) {
  ASSERT_TRUE(make("a").ok());
  ASSERT_TRUE(make("b").ok());
  EXPECT_EQ(contents("a"), contents("b"));
  ASSERT_TRUE(make("c", 40, 2).ok());
  EXPECT_NE(contents("a").at("captions.json"), contents("c").at("captions.json"));
}

TEST_F(Shapes, OptionsOutOfRangeAreNamed) {
  EXPECT_THAT(make("a", 0).message(), HasSubstr("pictures 0"));
  const Status small = write_shapes_dataset(Env::posix(), {1, 15, 4, root_ + "/a"});
  EXPECT_EQ(small.code(), Code::kInvalidArgument);
  EXPECT_THAT(small.message(), HasSubstr("image_size 15"));
}

TEST_F(Shapes, ArePreparedAsARecipeNamesThem) {
  const auto made = prepare_dataset("shapes", {{"pictures", "3"}, {"image_size", "16"}}, root_ + "/store");
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const auto part = made->part("captions");
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(load_conversations(part->conversations)->size(), 3u);
  EXPECT_EQ(load_image(part->images + "/000002.png")->width, 16);
  EXPECT_EQ(made->part("train").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tephra::data
