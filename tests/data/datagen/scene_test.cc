// What is proved: COCO's two files and the same fields as JSON lines give the same facts; what cannot be used is said.
#include "data/datagen/scene.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/base/temp_dir.h"

namespace tephra::data {
namespace {

class PictureFactsTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name) << text;
    return dir_ / name;
  }
  TempDir dir_;
};

constexpr const char* kCaptions = R"({"info": {"year": 2017, "nested": [{"a": 1}]}, "licenses": [{"id": 1}],
  "images": [{"id": 9, "file_name": "9.jpg", "width": 200, "height": 100}, {"id": 7, "file_name": "7.jpg", "width": 10, "height": 10},
             {"id": 5, "file_name": "5.jpg", "width": 10, "height": 10}],
  "annotations": [{"image_id": 9, "id": 1, "caption": "A dog\nruns. "}, {"image_id": 7, "id": 2, "caption": "A cat."},
                  {"image_id": 9, "id": 3, "caption": "A running dog."}]})";
constexpr const char* kInstances = R"({"images": [{"id": 9, "file_name": "9.jpg", "width": 200, "height": 100}],
  "annotations": [{"image_id": 9, "category_id": 18, "bbox": [20, 10, 100, 90.5], "segmentation": [[1, 2, 3]]},
                  {"image_id": 7, "category_id": 17, "bbox": [5, 5, 30, 2], "segmentation": {"counts": [1, 2], "size": [1, 2]}}],
  "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]})";

TEST_F(PictureFactsTest, ReadsCocoAsPublished) {
  const auto read = load_coco(write("c.json", kCaptions), write("i.json", kInstances));
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  ASSERT_EQ(read->pictures.size(), 1u);
  const PictureFacts& dog = read->pictures[0];
  EXPECT_EQ(dog.id, "9");
  EXPECT_EQ(dog.image, "9.jpg");
  EXPECT_EQ(dog.captions, (std::vector<std::string>{"A dog runs.", "A running dog."}));
  EXPECT_EQ(context_text(dog), "A dog runs.\nA running dog.\n\ndog: [0.100, 0.100, 0.600, 1.000]\n");
  ASSERT_EQ(read->rejected.size(), 2u);
  EXPECT_EQ(read->rejected[0].id + read->rejected[0].reason, "7coordinates");
  EXPECT_EQ(read->rejected[1].id + read->rejected[1].reason, "5no_caption");
  EXPECT_EQ(load_coco(dir_ / "c.json", "")->pictures.size(), 2u) << "without boxes";
}

TEST_F(PictureFactsTest, ReadsTheSameFromLines) {
  const auto read = load_picture_lines(write(
      "p.jsonl",
      R"({"id": 9, "image": "9.jpg", "width": 200, "height": 100, "captions": ["A dog\nruns. ", "A running dog."], "objects": [{"category": "dog", "bbox": [20, 10, 100, 90.5]}]}

{"id": "x", "file_name": "x.jpg", "captions": ["A field."]}
{"id": "x", "file_name": "x.jpg", "captions": ["Again."]}
)"));
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  ASSERT_EQ(read->pictures.size(), 2u);
  EXPECT_EQ(context_text(read->pictures[0]), "A dog runs.\nA running dog.\n\ndog: [0.100, 0.100, 0.600, 1.000]\n");
  EXPECT_EQ(read->rejected[0].reason, "duplicate");
}

TEST_F(PictureFactsTest, BrokenFilesAreNamed) {
  EXPECT_EQ(load_coco(dir_ / "none.json", "").status().code(), Code::kNotFound);
  for (const char* bad :
       {"", "[1]", "{\"images\": [", "{\"annotations\": []}", R"({"images": [{"file_name": "x"}]})"}) {
    const Status status = load_coco(write("bad.json", bad), "").status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find("bad.json"), std::string::npos);
  }
  for (const char* bad : {"nonsense", "{}", R"({"id": 1, "captions": "x"})", R"({"id": 1, "captions": [2]})"}) {
    const Status status = load_picture_lines(write("bad.jsonl", std::string("\n") + bad)).status();
    EXPECT_NE(status.message().find("bad.jsonl:2:"), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace tephra::data
