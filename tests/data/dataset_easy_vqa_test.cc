// easy-VQA's files become conversations of all of a picture's questions and files of single questions, the same bytes
// each time; what is missing or broken is named with what to do.
#include "data/dataset_easy_vqa.h"

#include <gmock/gmock.h>

#include <set>

#include "data/conversation.h"
#include "data/prepared.h"
#include "tests/data/folder.h"
#include "tests/data/picture.h"

namespace tephra::data {
namespace {

using ::testing::HasSubstr;

class EasyVqa : public FolderTest {
 protected:
  void SetUp() override {
    write("easy/train/questions.json", R"([["what is the blue shape?", "circle", 3], ["is there a circle?", "yes", 3],
      ["what color is the shape?", "blue", 3], ["is there a red shape?", "no", 3], ["is there a circle?", "no", 12]])");
    write("easy/test/questions.json", R"([["is there a circle?", "yes", 0]])");
    for (const char* picture : {"train/images/3.png", "train/images/12.png", "test/images/0.png"})
      write(std::string("easy/") + picture, png_text(gradient(8, 8)));
  }
  Status make(const std::string& folder, int questions_per_sample = 0) const {
    return write_easy_vqa_dataset(Env::posix(), {root_ + "/easy", questions_per_sample, root_ + "/" + folder});
  }
};

TEST_F(EasyVqa, APictureIsOneConversationOfItsQuestions) {
  ASSERT_TRUE(make("a").ok());
  const auto samples = load_conversations(root_ + "/a/train.json");
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  ASSERT_EQ(samples->size(), 2u);
  const Sample& sample = (*samples)[0];  // picture 3, although 12 comes first in the alphabet
  EXPECT_EQ(sample.images, std::vector<std::string>{"train/images/3.png"});
  ASSERT_EQ(sample.turns.size(), 8u);
  const std::string prompt = "\n" + std::string(kShortAnswerPrompt);
  std::set<std::string> said;
  for (size_t i = 0; i < sample.turns.size(); i += 2) {
    std::string question = sample.turns[i].value;
    EXPECT_EQ(question.starts_with("<image>\n"), i == 0) << question;
    if (i == 0) question.erase(0, 8);
    EXPECT_EQ(question.ends_with(prompt), i == 0) << question;
    if (i == 0) question.erase(question.size() - prompt.size());
    said.insert(question + " -> " + sample.turns[i + 1].value);
  }
  EXPECT_EQ(said, (std::set<std::string>{"what is the blue shape? -> circle", "is there a circle? -> yes",
                                         "what color is the shape? -> blue", "is there a red shape? -> no"}));
}

TEST_F(EasyVqa, CaptionsSayWhatAnswersTell) {
  write("easy/train/questions.json", R"([["what is the blue shape?", "circle", 3], ["is there a red shape?", "no", 3],
      ["what color is the shape?", "red", 4], ["is there not a circle?", "yes", 4], ["is a rectangle present?", "yes", 5],
      ["is no blue shape present?", "no", 5], ["what shape is present?", "rectangle", 12], ["what color is the rectangle?", "blue", 12],
      ["is there a circle?", "no", 13]])");
  for (const char* picture : {"4", "5", "13"})
    write(std::string("easy/train/images/") + picture + ".png", png_text(gradient(8, 8)));
  ASSERT_TRUE(make("a").ok());
  const auto samples = load_conversations(root_ + "/a/captions.json");
  ASSERT_TRUE(samples.ok()) << samples.status().to_string();
  std::map<std::string, std::string> said;
  for (const Sample& sample : *samples) {
    EXPECT_EQ(sample.turns.size(), 2u);
    said[sample.images.at(0)] = sample.turns[1].value;
  }
  EXPECT_EQ(said, (std::map<std::string, std::string>{{"train/images/3.png", "A blue circle."},
                                                      {"train/images/4.png", "A red shape."},
                                                      {"train/images/5.png", "A rectangle."},
                                                      {"train/images/12.png", "A blue rectangle."}}));
}

TEST_F(EasyVqa, ManyQuestionsAreDividedEvenly) {
  ASSERT_TRUE(make("a", 3).ok());
  const auto samples = load_conversations(root_ + "/a/train.json");
  ASSERT_TRUE(samples.ok());
  ASSERT_EQ(samples->size(), 3u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*samples)[i].turns.size(), 4u);
    EXPECT_EQ(count_image_tags((*samples)[i]), 1);
  }
  EXPECT_EQ(json("a/dataset.json")["counts"]["train_samples"], 3);
}

TEST_F(EasyVqa, QuestionFilesHoldOneQuestionASample) {
  ASSERT_TRUE(make("a").ok());
  const auto train = load_conversations(root_ + "/a/questions-train.json"),
             test = load_conversations(root_ + "/a/questions-test.json");
  ASSERT_TRUE(train.ok() && test.ok());
  EXPECT_EQ(train->size(), 5u);
  ASSERT_EQ(test->size(), 1u);
  EXPECT_EQ((*test)[0].images, std::vector<std::string>{"test/images/0.png"});
  EXPECT_EQ((*test)[0].turns[0].value, "<image>\nis there a circle?\n" + std::string(kShortAnswerPrompt));
  EXPECT_EQ((*test)[0].turns[1].value, "yes");
}

TEST_F(EasyVqa, EqualQuestionsGiveEqualBytes) {
  ASSERT_TRUE(make("a").ok());
  ASSERT_TRUE(make("b").ok());
  EXPECT_EQ(contents("a"), contents("b"));
  ASSERT_TRUE(make("a").ok());  // complete: left alone
  EXPECT_EQ(contents("a"), contents("b"));
  write("easy/test/questions.json", R"([["is there a circle?", "no", 0]])");
  ASSERT_TRUE(make("a").ok());
  EXPECT_NE(contents("a").at("questions-test.json"), contents("b").at("questions-test.json"));
}

TEST_F(EasyVqa, NamesTheFileThatIsWrongAndTheRemedy) {
  const auto expect = [&](Code code, const std::string& file) {
    const Status status = make("a");
    EXPECT_EQ(status.code(), code) << status.to_string();
    EXPECT_THAT(status.message(), HasSubstr(root_ + "/easy/" + file));
    EXPECT_THAT(status.message(), HasSubstr("scripts/fetch_real_small.sh"));
    EXPECT_FALSE(std::filesystem::exists(root_ + "/a/dataset.json"));
  };
  write("easy/test/images/0.png", "not a picture");
  expect(Code::kUnsupported, "test/images/0.png");
  std::filesystem::remove(root_ + "/easy/test/images/0.png");
  expect(Code::kNotFound, "test/images/0.png");
  for (const char* text :
       {"", "{}", "[]", "[[\"q\", \"a\"]]", "[[\"q\", \"a\", -1]]", "[[\"q\", 1, 0]]", "[\"qa0\"]"}) {
    write("easy/test/questions.json", text);
    expect(Code::kInvalidArgument, "test/questions.json");
  }
  std::filesystem::remove(root_ + "/easy/test/questions.json");
  expect(Code::kNotFound, "test/questions.json");
  EXPECT_EQ(make("a", -1).code(), Code::kInvalidArgument);
}

TEST_F(EasyVqa, IsPreparedAsARecipeNamesIt) {
  const auto made =
      prepare_dataset("easy_vqa", {{"path", root_ + "/easy"}, {"questions_per_sample", "3"}}, root_ + "/store");
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const auto part = made->part("train");
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(load_conversations(part->conversations)->size(), 3u);
  EXPECT_EQ(part->images, root_ + "/easy");
  EXPECT_TRUE(std::filesystem::exists(made->questions("test")->conversations));
  EXPECT_EQ(made->part("test").status().code(), Code::kNotFound);
  EXPECT_EQ(made->questions("val").status().code(), Code::kNotFound);
  EXPECT_EQ(made->scienceqa().status().code(), Code::kInvalidArgument);
  EXPECT_EQ(prepare_dataset("easy_vqa", {}, root_).status().code(), Code::kInvalidArgument);
  const auto nowhere = prepare_dataset("easy_vqa", {{"path", root_ + "/none"}}, root_);
  EXPECT_THAT(nowhere.status().message(), HasSubstr(root_ + "/none"));
}

}  // namespace
}  // namespace tephra::data
