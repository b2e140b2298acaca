// A bench's questions over a generated dataset: pictures swap with other pictures, prompts hold the image tag, and scores are those of
// the answers that were given.
#include "eval/score/questions.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace tephra::eval {
namespace {

class Questions : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/questions-XXXXXX";
    root_ = mkdtemp(pattern.data());
    auto made = data::prepare_dataset("scenes", {{"train_scenes", "4"}, {"test_questions", "24"}, {"validation_questions", "24"},
                                                 {"text_questions", "4"}, {"heldout_conversations", "3"}}, root_);
    ASSERT_TRUE(made.ok()) << made.status().message();
    dataset_ = *made;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string root_;
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
