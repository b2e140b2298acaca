// Questions have one true answer, found again from the objects, and nothing but the picture tells which.
#include "data/scene_questions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace tephra::data {
namespace {

constexpr uint64_t kRound = kSceneQuestionKinds * 4 * 12;

TEST(SceneQuestions, TheStatedAnswerIsTheOnlyTrueChoice) {
  for (SceneSplit split : {SceneSplit::kTrain, SceneSplit::kTest}) {
    for (uint64_t i = 0; i < 2 * kRound; ++i) {
      const SceneQuestion q = scene_question(11, split, i);
      EXPECT_EQ(split_of(q.scene), split);
      ASSERT_EQ(q.problem.choices.size(), 4u);
      EXPECT_EQ(std::set<std::string>(q.problem.choices.begin(), q.problem.choices.end()).size(), 4u);
      EXPECT_EQ(true_choice(q.scene, q.kind, q.problem), q.problem.answer) << q.problem.question;
      const std::string& right = q.problem.choices[static_cast<size_t>(q.problem.answer)];
      EXPECT_NE(q.problem.solution.find(right), std::string::npos) << q.problem.solution;
      EXPECT_TRUE(q.problem.hint.empty());
    }
  }
}

TEST(SceneQuestions, LettersAndAnswersAreBalanced) {
  std::map<int, int> letters;
  std::map<std::pair<int, std::string>, int> answers;
  for (uint64_t i = 0; i < kRound; ++i) {
    const SceneQuestion q = scene_question(1, SceneSplit::kTest, i);
    ++letters[q.problem.answer];
    ++answers[{static_cast<int>(q.kind), q.problem.choices[static_cast<size_t>(q.problem.answer)]}];
  }
  for (int letter = 0; letter < 4; ++letter) EXPECT_EQ(letters[letter], static_cast<int>(kRound) / 4);
  for (const auto& [key, count] : answers) EXPECT_EQ(count, 12) << key.second;
}

// The best that can be done from the words alone: for each question text, the answer word that is right most often, learnt
// from other questions. It stays near one in four.
TEST(SceneQuestions, ABlindMajorityAnswerIsWrongMostly) {
  std::map<std::string, std::map<std::string, int>> votes;
  for (uint64_t i = 0; i < 20 * kRound; ++i) {
    const SceneQuestion q = scene_question(2, SceneSplit::kTrain, i);
    ++votes[q.problem.question][q.problem.choices[static_cast<size_t>(q.problem.answer)]];
  }
  int right = 0;
  for (uint64_t i = 0; i < 4 * kRound; ++i) {
    const SceneQuestion q = scene_question(1, SceneSplit::kTest, i);
    int best = 0;
    for (int c = 1; c < 4; ++c) {
      auto& seen = votes[q.problem.question];
      if (seen[q.problem.choices[static_cast<size_t>(c)]] > seen[q.problem.choices[static_cast<size_t>(best)]])
        best = c;
    }
    right += best == q.problem.answer;
  }
  EXPECT_LT(right, static_cast<int>(0.33 * 4 * kRound));
}

// With pictures dealt out anew, the printed answer is right about as often as a guess.
TEST(SceneQuestions, SwappedPicturesMakeTheAnswerAGuess) {
  constexpr uint64_t kCount = 2 * kRound;
  int right = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const SceneQuestion q = scene_question(1, SceneSplit::kTest, i);
    const SceneQuestion other = scene_question(1, SceneSplit::kTest, (i * 7 + 101) % kCount);
    right += true_choice(other.scene, q.kind, q.problem) == q.problem.answer;
  }
  EXPECT_LT(right, static_cast<int>(kCount) / 3);
}

TEST(SceneQuestions, CoverTheSubjectsOfScienceQa) {
  std::set<std::string> subjects;
  for (uint64_t i = 0; i < kSceneQuestionKinds; ++i)
    subjects.insert(scene_question(1, SceneSplit::kTest, i).problem.subject);
  EXPECT_EQ(subjects, (std::set<std::string>{"natural science", "social science", "language science"}));
}

}  // namespace
}  // namespace tephra::data
