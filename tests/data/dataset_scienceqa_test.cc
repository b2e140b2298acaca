// ScienceQA's training problems become conversations in the bench's words, with the pictures that are there.
#include "data/dataset_scienceqa.h"

#include <gmock/gmock.h>

#include "data/conversation.h"
#include "data/prepared.h"
#include "tests/data/folder.h"

namespace tephra::data {
namespace {

using ::testing::HasSubstr;

constexpr const char* kProblems = R"({
 "1": {"question": "Which is red?", "choices": ["rose", "grass"], "answer": 0, "image": "image.png", "split": "train"},
 "2": {"question": "Which is blue?", "choices": ["rose", "sky"], "answer": 1, "image": "image.png", "split": "train"},
 "3": {"question": "Where is it?", "choices": ["here", "there"], "answer": 1, "hint": "It is gone.", "image": null, "split": "train"},
 "4": {"question": "And now?", "choices": ["here", "there"], "answer": 0, "image": null, "split": "test"}
})";

class ScienceQaDataset : public FolderTest {
 protected:
  void SetUp() override {
    write("problems.json", kProblems);
    write("images/train/1/image.png", "a picture");
  }
  std::map<std::string, std::string> options(const char* splits, const std::string& images = "/images") {
    return {
        {"problems", root_ + "/problems.json"}, {"splits", write("splits.json", splits)}, {"images", root_ + images}};
  }
  Result<std::vector<Sample>> samples(const std::map<std::string, std::string>& options) const {
    TEPHRA_ASSIGN_OR_RETURN(const auto made, prepare_dataset("scienceqa", options, root_ + "/store"));
    TEPHRA_ASSIGN_OR_RETURN(const auto part, made.part("train"));
    return load_conversations(part.conversations);
  }
};

TEST_F(ScienceQaDataset, TakesTheTrainingProblemsWithThePicturesThatAreThere) {
  for (const char* images : {"/images", "/images/"}) {
    const auto made =
        samples(options(R"({"minitrain": ["3"], "train": ["2", "1", "99", "3"], "test": ["4"]})", images));
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    ASSERT_EQ(made->size(), 3u);
    EXPECT_TRUE((*made)[0].images.empty());  // its file is absent
    EXPECT_EQ(
        (*made)[0].turns[0].value,
        "Which is blue?\nOptions: (A) rose (B) sky\nAnswer with the option's letter from the given choices directly.");
    EXPECT_EQ((*made)[0].turns[1].value, "B");
    EXPECT_EQ((*made)[1].images, std::vector<std::string>{"train/1/image.png"});
    EXPECT_TRUE((*made)[1].turns[0].value.starts_with("<image>\nWhich is red?\n"));
    EXPECT_TRUE((*made)[2].turns[0].value.starts_with("Where is it?\nContext: It is gone.\n"));
  }
}

TEST_F(ScienceQaDataset, APictureThatComesLaterIsSeen) {
  const char* splits = R"({"train": ["2"]})";
  ASSERT_TRUE((*samples(options(splits)))[0].images.empty());
  write("images/train/2/image.png", "a picture");
  EXPECT_EQ((*samples(options(splits)))[0].images, std::vector<std::string>{"train/2/image.png"});
  auto without = options(splits);
  without.erase("images");
  EXPECT_TRUE((*samples(without))[0].images.empty());
}

TEST_F(ScienceQaDataset, FallsBackToMinitrain) {
  const auto cut_down = samples(options(R"({"train": ["98", "99"], "minitrain": ["3"]})"));
  ASSERT_TRUE(cut_down.ok()) << cut_down.status().to_string();
  EXPECT_EQ(cut_down->size(), 1u);
}

TEST_F(ScienceQaDataset, WithoutTrainingProblemsOnlyTrainingIsRefused) {
  const auto made = prepare_dataset("scienceqa", options(R"({"test": ["4"]})"), root_ + "/store");
  ASSERT_TRUE(made.ok()) << made.status().to_string();  // a bench needs no training problems
  EXPECT_TRUE(made->scienceqa().ok());
  const auto part = made->part("train");
  EXPECT_EQ(part.status().code(), Code::kNotFound);
  EXPECT_THAT(part.status().message(), HasSubstr("train or minitrain"));
}

TEST_F(ScienceQaDataset, LeavesOutTooLongOnes) {
  auto some = options(R"({"train": ["1", "2", "3"]})");
  some["longest_prompt"] = "115";  // the hint of 3 makes it longer
  const auto made = samples(some);
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  ASSERT_EQ(made->size(), 2u);
  EXPECT_EQ((*made)[1].id, "scienceqa-2");
  some["longest_prompt"] = "10";
  EXPECT_EQ(samples(some).status().code(), Code::kInvalidArgument);
  some["longest_prompt"] = "-1";
  EXPECT_EQ(samples(some).status().code(), Code::kInvalidArgument);
}

TEST_F(ScienceQaDataset, EqualProblemsGiveEqualBytes) {
  const auto o = options(R"({"train": ["1", "2", "3"]})");
  for (const char* folder : {"a", "b"})
    ASSERT_TRUE(write_scienceqa_dataset(Env::posix(),
                                        {o.at("problems"), o.at("splits"), o.at("images"), 0, root_ + "/" + folder})
                    .ok());
  EXPECT_EQ(contents("a"), contents("b"));
  EXPECT_EQ(json("a/dataset.json")["counts"]["pictures"], 1);
  EXPECT_EQ(json("a/dataset.json")["counts"]["pictures_absent"], 1);
}

TEST_F(ScienceQaDataset, NamesTheFileThatIsMissingOrBroken) {
  auto o = options(R"({"train": ["1"]})");
  write("problems.json", "{");
  const Status broken = prepare_dataset("scienceqa", o, root_ + "/store").status();
  EXPECT_EQ(broken.code(), Code::kInvalidArgument);
  EXPECT_THAT(broken.message(), HasSubstr(root_ + "/problems.json"));
  const Status missing =
      write_scienceqa_dataset(Env::posix(), {root_ + "/none.json", o.at("splits"), "", 0, root_ + "/a"});
  EXPECT_EQ(missing.code(), Code::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr(root_ + "/none.json"));
}

}  // namespace
}  // namespace tephra::data
