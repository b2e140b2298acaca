// dataset.json vouches for a folder: a complete one is left alone, one that was made from something else or never ended
// is begun anew.
#include "data/dataset_folder.h"

#include "tests/data/folder.h"

namespace tephra::data {
namespace {

class Folder : public FolderTest {
 protected:
  DatasetFolder folder(int seed) const { return {Env::posix(), root_ + "/a", {{"seed", seed}}}; }
};

TEST_F(Folder, IsCompleteOnlyOnceFinishedAndOnlyForItsOptions) {
  DatasetFolder first = folder(1);
  ASSERT_FALSE(*first.begin());
  ASSERT_TRUE(first.write("x.json", "one").ok());
  EXPECT_FALSE(*folder(1).begin());  // not finished
  ASSERT_TRUE(first.finish({{"samples", 3}}).ok());
  EXPECT_TRUE(*folder(1).begin());
  EXPECT_EQ(json("a/dataset.json")["counts"]["samples"], 3);

  DatasetFolder other = folder(2);
  EXPECT_FALSE(*other.begin());
  EXPECT_FALSE(contents("a").contains("dataset.json"));  // from here on the folder is incomplete
  ASSERT_TRUE(other.write("x.json", "two").ok());
  EXPECT_EQ(contents("a").at("x.json"), "two");
}

TEST_F(Folder, ADamagedMarkerIsNoMarker) {
  write("a/dataset.json", "{");
  EXPECT_FALSE(*folder(1).begin());
}

TEST_F(Folder, TheContentHashIsOfNamesAndBytes) {
  std::vector<std::string> hashes;
  for (const auto& [name, bytes] : {std::pair{"x", "1"}, {"y", "1"}, {"x", "2"}, {"x", "1"}}) {
    DatasetFolder made(Env::posix(), root_ + "/" + std::to_string(hashes.size()), {});
    ASSERT_FALSE(*made.begin());
    ASSERT_TRUE(made.write(name, bytes).ok());
    ASSERT_TRUE(made.finish().ok());
    hashes.push_back(json(std::to_string(hashes.size()) + "/dataset.json")["content_hash"]);
  }
  EXPECT_NE(hashes[0], hashes[1]);
  EXPECT_NE(hashes[0], hashes[2]);
  EXPECT_EQ(hashes[0], hashes[3]);
}

TEST(SampleJson, PutsTheTagOrTheLeadBeforeTheFirstQuestionOnly) {
  const auto shown = sample_json("s", "p.png", {{"one?", "1"}, {"two?", "2"}}, "not used");
  EXPECT_EQ(shown["image"], "p.png");
  EXPECT_EQ(shown["conversations"][0]["value"], "<image>\none?");
  EXPECT_EQ(shown["conversations"][2]["value"], "two?");
  const auto told = sample_json("s", "", {{"one?", "1"}}, "lead ");
  EXPECT_FALSE(told.contains("image"));
  EXPECT_EQ(told["conversations"][0]["value"], "lead one?");
}

TEST(JsonLines, HoldsOneElementALine) {
  EXPECT_EQ(json_lines({1, "\xff"}), "[\n1,\n\"\xef\xbf\xbd\"\n]\n");
  EXPECT_EQ(json_lines(nlohmann::ordered_json::array()), "[\n]\n");
}

}  // namespace
}  // namespace tephra::data
