// Answers as a killed process leaves them: the last line of a key counts, and torn or foreign lines are passed over.
#include "eval/score/answer_file.h"

#include <gtest/gtest.h>

#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

using Answers = std::map<std::string, std::string>;

TEST(AnswerFile, TheLastLineOfAKeyCounts) {
  const TemporaryFolder folder;
  const std::string path = folder.write("answers-0.jsonl", R"({"id": "1", "text": "A"}
{"id": "1#swapped", "text": "B"}
{"id": "1", "text": "C"}
)");
  EXPECT_EQ(read_answers(path), (Answers{{"1", "C"}, {"1#swapped", "B"}}));
  EXPECT_EQ(answered_keys(path), (std::set<std::string>{"1", "1#swapped"}));
}

TEST(AnswerFile, ATornLineIsAskedAgainWhereverItWasCut) {
  const TemporaryFolder folder;
  const std::string first = R"({"id": "1", "text": "A \"word\""})", second = R"({"id": "2", "text": "B"})";
  for (size_t cut = 0; cut < second.size(); ++cut) {
    const std::string path = folder.write("a.jsonl", first + "\n" + second.substr(0, cut));
    EXPECT_EQ(read_answers(path), (Answers{{"1", "A \"word\""}})) << cut;
    // What is appended after a kill begins on a line of its own.
    EXPECT_EQ(read_answers(folder.write("b.jsonl", first + "\n" + second.substr(0, cut) + "\n" + second + "\n")).size(),
              2u);
  }
}

TEST(AnswerFile, OtherLinesAndNoFileAreNoAnswers) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_answers(folder.write("a.jsonl", "[1]\n{\"id\": 1, \"text\": \"x\"}\n{\"id\": \"1\"}\n\nnull\n")),
            Answers{});
  EXPECT_EQ(read_answers(folder.path("none.jsonl")), Answers{});
}

}  // namespace
}  // namespace tephra::eval
