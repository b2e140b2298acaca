// A bench's questions over a generated dataset: pictures swap with other pictures, prompts hold the image tag, and scores are those of
// the answers that were given.
#include "eval/score/questions.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "data/image.h"
#include "tests/base/temp_dir.h"

namespace tephra::eval {
namespace {

class Questions : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = data::prepare_dataset("scenes",
                                      {{"train_scenes", "4"},
                                       {"test_questions", "24"},
                                       {"validation_questions", "24"},
                                       {"text_questions", "4"},
                                       {"heldout_conversations", "3"}},
                                      root_);
    ASSERT_TRUE(made.ok()) << made.status().message();
    dataset_ = *made;
  }

  TempDir dir_;
  const std::string root_ = dir_.path();
  data::PreparedDataset dataset_;
};

TEST_F(Questions, PicturesSwapWithOtherPictures) {
  BenchSpec spec;
  spec.swap_images = true;
  auto set = load_questions(spec, dataset_);
  ASSERT_TRUE(set.ok()) << set.status().message();
  int with_picture = 0;
  for (const Question& q : set->questions) {
    EXPECT_EQ(q.image.empty(), q.turns.back().value.find("<image>") == std::string::npos);
    if (q.image.empty()) {
      EXPECT_TRUE(q.swapped_image.empty());
      continue;
    }
    ++with_picture;
    EXPECT_FALSE(q.swapped_image.empty());
    EXPECT_NE(q.swapped_image, q.image);
    EXPECT_TRUE(std::filesystem::exists(q.swapped_image));
  }
  EXPECT_GE(with_picture, 20);
}

// The list goes round in kinds and answers; were the swaps in step with it, a wrong picture would give right answers.
TEST_F(Questions, ASwappedPictureRarelyBelongsToAQuestionWithTheSameAnswer) {
  auto made = data::prepare_dataset("scenes",
                                    {{"train_scenes", "4"}, {"test_questions", "192"}, {"text_questions", "0"}}, root_);
  ASSERT_TRUE(made.ok()) << made.status().message();
  BenchSpec spec;
  spec.swap_images = true;
  auto set = load_questions(spec, *made);
  ASSERT_TRUE(set.ok());
  std::map<std::string, const Question*> by_image;
  for (const Question& q : set->questions) by_image[q.image] = &q;
  int same = 0;
  for (const Question& q : set->questions) {
    const Question& other = *by_image.at(q.swapped_image);
    same += other.reference == q.reference && other.category == q.category;
  }
  EXPECT_LT(same, 192 / 4);  // by chance 1 in 4 of the third or so that are of the same subject
}

TEST_F(Questions, ScoresAreThoseOfTheAnswers) {
  BenchSpec spec;
  spec.answer_rule = "letter";
  spec.swap_images = true;
  auto set = load_questions(spec, dataset_);
  ASSERT_TRUE(set.ok());
  std::map<std::string, std::string> answers;
  for (size_t i = 0; i < set->questions.size(); ++i) {
    const Question& q = set->questions[i];
    answers[answer_key(q.id, false)] = i % 2 == 0 ? q.reference : "no idea";
    if (!q.swapped_image.empty()) answers[answer_key(q.id, true)] = "Z";
  }
  auto result = score_bench(spec, *set, answers);
  ASSERT_TRUE(result.ok());
  auto n = static_cast<int64_t>(set->questions.size());
  EXPECT_EQ(result->counts.at("correct"), (n + 1) / 2);
  EXPECT_EQ(result->counts.at("unparsed"), n / 2);
  EXPECT_EQ(result->metrics.at("accuracy_swapped"), 0);
  EXPECT_EQ(result->columns.size(), 9u);
}

TEST(ScienceQaGroups, GradesStandInTheirOrder) {
  QuestionSet set;
  for (const char* grade : {"grade10", "grade2", "grade1"}) {
    data::ScienceQaProblem problem;
    problem.pid = grade;
    problem.choices = {"yes", "no"};
    problem.grade = grade;
    set.problems.push_back(problem);
  }
  for (size_t i = 0; i < set.problems.size(); ++i)
    set.questions.push_back(scienceqa_question(set.problems[i], static_cast<int64_t>(i)));
  BenchSpec spec;
  spec.answer_rule = "letter";
  const auto result = score_bench(spec, set, {{"grade2", "A"}, {"grade10", "B"}});
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  std::vector<std::string> names;
  for (const Column& column : result->groups.at("grade")) names.push_back(column.name);
  EXPECT_EQ(names, (std::vector<std::string>{"grade1", "grade2", "grade10"}));
  EXPECT_EQ(result->groups.at("grade")[1].correct, 1);
}

TEST_F(Questions, ALimitLeavesQuestionsOfTheWholeListOnceAndInOrder) {
  BenchSpec spec;
  const auto all = load_questions(spec, dataset_);
  ASSERT_TRUE(all.ok());
  std::map<std::string, size_t> place;
  for (size_t i = 0; i < all->questions.size(); ++i) place[all->questions[i].id] = i;
  const size_t n = all->questions.size();  // 28
  ASSERT_EQ(n, 28u);
  spec.limit = 5;
  const auto some = load_questions(spec, dataset_);
  ASSERT_TRUE(some.ok());
  ASSERT_EQ(some->questions.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_GE(place.at(some->questions[i].id), i * n / 5);
    EXPECT_LT(place.at(some->questions[i].id), (i + 1) * n / 5);
  }
  for (int64_t enough : {28, 29, 0}) {
    spec.limit = enough;
    EXPECT_EQ(load_questions(spec, dataset_)->questions.size(), n);
  }
}

TEST_F(Questions, AScienceQaPictureThatIsAbsentIsNotAskedWithAndCounted) {
  BenchSpec spec;
  spec.swap_images = true;
  const auto before = load_questions(spec, dataset_);
  ASSERT_TRUE(before.ok());
  ASSERT_FALSE(before->questions[0].image.empty());
  std::filesystem::remove(before->questions[0].image);
  const auto set = load_questions(spec, dataset_);
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ(set->questions[0].image, "");
  EXPECT_EQ(set->questions[0].turns[0].value.find("<image>"), std::string::npos);
  for (const Question& q : set->questions) EXPECT_NE(q.swapped_image, before->questions[0].image);
  const auto result = score_bench(spec, *set, {});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->counts.at("images_absent"), 1);
  EXPECT_EQ(result->counts.at("images"), before->questions.size() - 4 - 1);  // the last 4 are told in words
}

class VqaQuestions : public ::testing::Test {
 protected:
  void SetUp() override {
    // Of "is it red?" training says yes twice and no once; blue is the most frequent answer of all.
    split(
        "train",
        R"([["is it red?", "yes", 0], ["what color is it?", "blue", 0], ["is it red?", "no", 1], ["what color is it?", "blue", 1],
      ["is it red?", "yes", 2], ["what color is it?", "blue", 2], ["what color is it?", "red", 3]])",
        4);
    split(
        "test",
        R"([["is it red?", "yes", 0], ["what color is it?", "red", 0], ["is it red?", "no", 1], ["what color is it?", "blue", 1],
      ["what shape is it?", "circle", 2]])",
        3);
    auto made = data::prepare_dataset("easy_vqa", {{"path", root_ + "/easy"}}, root_ + "/store");
    ASSERT_TRUE(made.ok()) << made.status().message();
    dataset_ = *made;
    spec_.kind = "vqa";
    spec_.swap_images = true;
  }

  void split(const std::string& name, const char* questions, int pictures) const {
    const std::string folder = root_ + "/easy/" + name;
    std::filesystem::create_directories(folder + "/images");
    ASSERT_TRUE(write_file_atomic(Env::posix(), folder + "/questions.json", questions).ok());
    const auto png = data::encode_png({1, 1, {1, 2, 3}});
    for (int i = 0; i < pictures; ++i)
      ASSERT_TRUE(write_file_atomic(Env::posix(), folder + "/images/" + std::to_string(i) + ".png",
                                    {reinterpret_cast<const char*>(png->data()), png->size()})
                      .ok());
  }

  TempDir dir_;
  const std::string root_ = dir_.path();
  data::PreparedDataset dataset_;
  BenchSpec spec_;
};

TEST_F(VqaQuestions, AreAskedOneByOneWithAPictureAndAnother) {
  const auto set = load_questions(spec_, dataset_);
  ASSERT_TRUE(set.ok()) << set.status().message();
  ASSERT_EQ(set->questions.size(), 5u);
  for (const Question& q : set->questions) {
    ASSERT_EQ(q.turns.size(), 1u);
    EXPECT_TRUE(q.turns[0].value.starts_with("<image>\n"));
    EXPECT_TRUE(q.turns[0].value.ends_with("\nAnswer the question using a single word or phrase."));
    EXPECT_TRUE(std::filesystem::exists(q.image)) << q.image;
    EXPECT_TRUE(std::filesystem::exists(q.swapped_image)) << q.swapped_image;
    EXPECT_NE(q.image, q.swapped_image);
  }
  EXPECT_EQ(set->questions[1].category, "color");
  EXPECT_EQ(set->questions[4].category, "shape");
  spec_.split = "val";
  EXPECT_EQ(load_questions(spec_, dataset_).status().code(), Code::kNotFound);
}

TEST_F(VqaQuestions, ScoresTheModelAndThoseThatDoNotLook) {
  auto set = load_questions(spec_, dataset_);
  ASSERT_TRUE(set.ok());
  ASSERT_TRUE(add_baselines(spec_, dataset_, &*set).ok());
  const char* const said[] = {"Yes.", "The red", "yes", "green", "a circle"};
  std::map<std::string, std::string> answers;
  for (size_t i = 0; i < set->questions.size(); ++i) {
    answers[answer_key(set->questions[i].id, false)] = said[i];
    answers[answer_key(set->questions[i].id, true)] = i == 0 ? "yes" : "no";
  }
  const auto result = score_bench(spec_, *set, answers);
  ASSERT_TRUE(result.ok());
  EXPECT_DOUBLE_EQ(result->metrics.at("accuracy"), 3 / 5.0);
  EXPECT_DOUBLE_EQ(result->metrics.at("accuracy_swapped"), 2 / 5.0);  // "yes" and "no" of the two questions about red
  EXPECT_DOUBLE_EQ(result->metrics.at("majority"), 1 / 5.0);          // blue
  EXPECT_DOUBLE_EQ(result->metrics.at("blind"), 2 / 5.0);  // yes; blue, also for the shape that was never asked
  EXPECT_DOUBLE_EQ(result->metrics.at("guess_level"), 1 / 5.0);
  ASSERT_EQ(result->columns.size(), 3u);
  EXPECT_EQ(result->columns[2].name, "yes/no");
  EXPECT_EQ(result->columns[2].correct, 1);
  EXPECT_EQ(result->columns[2].count, 2);
  EXPECT_EQ(result->cases[1].parsed, "red");
  EXPECT_EQ(result->cases[3].baselines, (std::map<std::string, bool>{{"majority", true}, {"blind", true}}));
  EXPECT_EQ(result->cases[0].question, "is it red?\nAnswer the question using a single word or phrase.");
}

TEST_F(Questions, AConversationWithSeveralPicturesIsRefusedByName) {
  const std::string file = dir_ / "pairs.json";
  const std::string text = R"([{"id": "pair", "image": ["a.png", "b.png"], "conversations": [
      {"from": "human", "value": "<image> or <image>"}, {"from": "gpt", "value": "The first."}]}])";
  ASSERT_TRUE(write_file_atomic(Env::posix(), file, text).ok());
  auto made = data::prepare_dataset("llava", {{"conversations", file}, {"images", dir_.path()}}, root_);
  ASSERT_TRUE(made.ok()) << made.status().message();
  BenchSpec spec;
  spec.kind = "instruct";
  spec.part = "";
  const Status status = load_questions(spec, *made).status();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.message().find(file + ": sample 'pair' has 2 pictures"), std::string::npos) << status.message();
}

TEST_F(Questions, UnknownKindsAndPartsAreErrors) {
  BenchSpec spec;
  spec.kind = "essay";
  EXPECT_EQ(load_questions(spec, dataset_).status().code(), Code::kUnsupported);
  spec.kind = "instruct";
  spec.part = "no-such-part";
  EXPECT_EQ(load_questions(spec, dataset_).status().code(), Code::kNotFound);
  spec.part = "heldout";
  auto set = load_questions(spec, dataset_);
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_GE(set->questions.size(), 3u);
}

}  // namespace
}  // namespace tephra::eval
