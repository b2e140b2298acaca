// Stamps are pasted whole, where their boxes say, on backgrounds that differ; captions are the files' English ones; the
// bytes are the same each time. Stamps here are drawn by the tests.
#include "data/dataset_stamps.h"

#include <gmock/gmock.h>

#include <set>

#include "data/conversation.h"
#include "data/image.h"
#include "data/prepared.h"
#include "tests/data/folder.h"
#include "tests/data/picture.h"

namespace tephra::data {
namespace {

using ::testing::HasSubstr;

class Stamps : public FolderTest {
 protected:
  void SetUp() override {
    // An opaque green rectangle of 10 x 20 in a clear picture whose clear pixels are white: white must not show
    // anywhere.
    write("stamps/b/bar.png", rgba_png_text(40, 40, [](int x, int y) {
            const bool inside = x >= 5 && x < 15 && y >= 12 && y < 32;
            return inside ? Rgba{0, 200, 0, 255} : Rgba{255, 255, 255, 0};
          }));
    write("stamps/b/bar.txt", "A green bar.\r\nde.utf8=Ein gr\xc3\xbcner Balken.\n");
    write("stamps/a.png", png_text(gradient(30, 30)));  // no alpha: covers all of its rectangle
    write("stamps/a.txt", "A gradient.");
    write("stamps/mirror.png", png_text(gradient(9, 9)));
    write("stamps/foreign.png", png_text(gradient(9, 9)));
    write("stamps/foreign.txt", "de.utf8=Ohne Englisch.\n");
    write("stamps/blank.png", png_text(gradient(9, 9)));
    write("stamps/blank.txt", " \nde.utf8=Leer.\n");
    write("stamps/clear.png", rgba_png_text(9, 9, [](int, int) { return Rgba{9, 9, 9, 0}; }));
    write("stamps/clear.txt", "Nothing.");
    write("stamps/notes.txt", "no picture");
  }
  StampDatasetOptions options(const std::string& folder) const {
    return {root_ + "/stamps", 1, 32, 6, root_ + "/" + folder};
  }
  Status make(const StampDatasetOptions& options) const { return write_stamp_dataset(Env::posix(), options); }
};

TEST_F(Stamps, CaptionsAreTheEnglishOnes) {
  ASSERT_TRUE(make(options("a")).ok());
  const auto samples = load_conversations(root_ + "/a/captions.json");
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  ASSERT_EQ(samples->size(), 12u);
  std::map<std::string, int> captions;
  std::set<std::string> images;
  for (const Sample& sample : *samples) {
    ASSERT_EQ(sample.turns.size(), 2u);
    EXPECT_TRUE(sample.turns[0].value.starts_with("<image>\n"));
    EXPECT_EQ(count_image_tags(sample), 1);
    ++captions[sample.turns[1].value];
    const auto image = load_image(root_ + "/a/images/" + sample.images.at(0));
    ASSERT_TRUE(image.ok()) << image.status().to_string();
    EXPECT_EQ(image->width, 32);
    EXPECT_TRUE(images.insert(std::string(image->rgb.begin(), image->rgb.end())).second) << "two equal pictures";
  }
  EXPECT_EQ(captions, (std::map<std::string, int>{{"A gradient.", 6}, {"A green bar.", 6}}));
  const auto counts = json("a/dataset.json")["counts"];
  EXPECT_EQ(counts["used"], 2);
  EXPECT_EQ(counts["without_caption"], 3);
  EXPECT_EQ(counts["without_pixels"], 1);
  EXPECT_EQ(counts["pictures"], 12);
}

// The bar is the only green thing, opaque and of known proportions, so its pixels can be told from any background's.
TEST_F(Stamps, BoxesHoldTheStampAndNothingElse) {
  StampDatasetOptions many = options("a");
  many.copies = 60;
  many.image_size = 64;
  ASSERT_TRUE(make(many).ok());
  std::set<std::string> backgrounds;
  std::set<std::pair<int, int>> places;
  for (const auto& row : json("a/boxes.json")) {
    if (row["stamp"] != "b/bar.png") continue;
    backgrounds.insert(row["background"].get<std::string>());
    const std::vector<int> box = row["box"];
    places.insert({box[0], box[1]});
    const int width = box[2] - box[0], height = box[3] - box[1];
    EXPECT_GE(box[0], 0);
    EXPECT_GE(box[1], 0);
    EXPECT_LE(box[2], 64);
    EXPECT_LE(box[3], 64);
    EXPECT_GE(height, 31);  // half of the picture, or one less by rounding
    EXPECT_NEAR(width, height / 2.0, 1.0);
    const auto image = load_image(root_ + "/a/images/" + row["image"].get<std::string>());
    ASSERT_TRUE(image.ok());
    for (int y = box[1] + 1; y < box[3] - 1; ++y) {
      for (int x = box[0] + 1; x < box[2] - 1; ++x) {
        const uint8_t* pixel = image->rgb.data() + 3 * (y * 64 + x);
        ASSERT_EQ((std::vector<int>{pixel[0], pixel[1], pixel[2]}), (std::vector<int>{0, 200, 0}))
            << row << " " << x << "," << y;
      }
    }
  }
  EXPECT_EQ(backgrounds, (std::set<std::string>{"gradient", "noise", "plain"}));
  EXPECT_GT(places.size(), 30u);
}

TEST_F(Stamps, EqualStampsAndOptionsGiveEqualBytes) {
  ASSERT_TRUE(make(options("a")).ok());
  ASSERT_TRUE(make(options("b")).ok());
  EXPECT_EQ(contents("a"), contents("b"));
  StampDatasetOptions other = options("c");
  other.seed = 2;
  ASSERT_TRUE(make(other).ok());
  EXPECT_NE(contents("a").at("images/000000.png"), contents("c").at("images/000000.png"));
}

TEST_F(Stamps, AChangedCaptionIsSeenAndLeavesTheOtherPicturesAlone) {
  ASSERT_TRUE(make(options("a")).ok());
  const auto before = contents("a");
  write("stamps/a.txt", "Many colors.");
  ASSERT_TRUE(make(options("a")).ok());
  const auto after = contents("a");
  EXPECT_NE(before.at("captions.json"), after.at("captions.json"));
  for (const auto& [name, bytes] : before)
    if (name.starts_with("images/")) {
      EXPECT_EQ(bytes, after.at(name)) << name;
    }
}

TEST_F(Stamps, NamesWhatIsWrongAndTheRemedy) {
  StampDatasetOptions small = options("a"), none = options("a"), nowhere = options("a"), empty = options("a");
  small.image_size = 15;
  EXPECT_EQ(make(small).code(), Code::kInvalidArgument);
  none.copies = 0;
  EXPECT_EQ(make(none).code(), Code::kInvalidArgument);
  nowhere.path = root_ + "/none";
  empty.path = root_ + "/empty";
  std::filesystem::create_directories(empty.path);
  for (const auto& wrong : {nowhere, empty}) {
    const Status status = make(wrong);
    EXPECT_EQ(status.code(), Code::kNotFound);
    EXPECT_THAT(status.message(), HasSubstr(wrong.path));
    EXPECT_THAT(status.message(), HasSubstr("tuxpaint-stamps-default"));
  }
  write("stamps/b/bar.png", png_text(gradient(30, 30)).substr(0, 60));
  const Status damaged = make(options("a"));
  EXPECT_EQ(damaged.code(), Code::kCorruption);
  EXPECT_THAT(damaged.message(), HasSubstr(root_ + "/stamps/b/bar.png"));
  EXPECT_FALSE(std::filesystem::exists(root_ + "/a/dataset.json"));
}

TEST_F(Stamps, ArePreparedAsARecipeNamesThem) {
  const auto made =
      prepare_dataset("stamps", {{"path", root_ + "/stamps"}, {"copies", "2"}, {"image_size", "16"}}, root_ + "/store");
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const auto part = made->part("captions");
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(load_conversations(part->conversations)->size(), 4u);
  EXPECT_TRUE(std::filesystem::exists(part->images + "/000003.png"));
  EXPECT_EQ(made->part("train").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tephra::data
