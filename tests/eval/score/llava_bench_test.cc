// Everything recorded of LLaVA's parse_score and summarize_gpt_review.py, and files that are no reviews.
#include "eval/score/llava_bench.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

TEST(ParseJudgeScores, WantsTwoNumbersAndNothingElse) {
  EXPECT_EQ(parse_judge_scores("8 9.5\nBoth are good.")->second, 9.5);
  EXPECT_EQ(parse_judge_scores("8,9")->first, 8);
  EXPECT_FALSE(parse_judge_scores("8, 9"));
  EXPECT_FALSE(parse_judge_scores("8 9 "));
  EXPECT_FALSE(parse_judge_scores("8\n9"));
  EXPECT_FALSE(parse_judge_scores("0x8 9"));
  EXPECT_FALSE(parse_judge_scores("8 "));
  EXPECT_FALSE(parse_judge_scores(""));
}

TEST(SummarizeReviews, DividesTheMeansOfEachCategory) {
  const auto rows =
      summarize_reviews({{"1", "conv", {8, 4}, ""}, {"2", "conv", {10, 8}, ""}, {"3", "detail", {5, 5}, ""}});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].name, "all");
  EXPECT_EQ(rows[0].count, 3);
  EXPECT_DOUBLE_EQ(rows[1].ratio, 66.7);
  EXPECT_DOUBLE_EQ(rows[1].first, 90);
  EXPECT_DOUBLE_EQ(rows[1].second, 60);
  EXPECT_DOUBLE_EQ(rows[2].ratio, 100);
}

TEST(LoadReviews, SaysWhatIsWrongWithAFile) {
  const TemporaryFolder folder;
  const auto message = [&](const char* text) { return load_reviews(folder.write("r.jsonl", text)).status().message(); };
  EXPECT_NE(message("{").find("r.jsonl:1: is not a JSON object"), std::string::npos);
  EXPECT_NE(message(R"({"tuple": [1, 2]})").find("has no question_id"), std::string::npos);
  EXPECT_NE(message(R"({"question_id": 4, "tuple": [1]})").find("question '4' has scores that are not two"),
            std::string::npos);
  EXPECT_NE(message(R"({"question_id": 4})").find("has neither scores nor a text"), std::string::npos);
  EXPECT_NE(message("").find("holds no review"), std::string::npos);
  const auto read = load_reviews(folder.write("r.jsonl", "{\"question_id\": 4, \"content\": \"7 3\\nwhy\"}\n"));
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ((*read)[0].scores.first, 7);
}

class RecordedReviews : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* root = std::getenv("TEPHRA_REFERENCE_DIR");
    if (root == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the folder of reference fixtures";
    folder = std::string(root) + "/llava_bench/";
    std::ifstream file(folder + "expected.json");
    expected = nlohmann::json::parse(file);
  }
  std::string folder;
  nlohmann::json expected;
};

TEST_F(RecordedReviews, OddLinesAreReadAsTheOriginalReadsThem) {
  int checked = 0;
  for (const auto& row : expected["parse_score_cases"]) {
    const std::string text = row["text"];
    const JudgeScores scores = parse_judge_scores(text).value_or(JudgeScores{});
    const auto same = [](double mine, const std::string& theirs) {
      const double value = std::stod(theirs);
      return std::isnan(value) ? std::isnan(mine) : mine == value;
    };
    EXPECT_TRUE(same(scores.first, row["parsed"][0]) && same(scores.second, row["parsed"][1])) << text;
    ++checked;
  }
  EXPECT_EQ(checked, 13);
}

TEST_F(RecordedReviews, EveryPublishedReviewGivesItsScores) {
  const auto reviews = load_reviews(folder + "review_gpt35_vicuna-13b.jsonl");
  ASSERT_TRUE(reviews.ok()) << reviews.status().to_string();
  ASSERT_EQ(reviews->size(), expected["parse_score"].size());
  for (size_t i = 0; i < reviews->size(); ++i) {
    const JudgeScores scores = parse_judge_scores((*reviews)[i].text).value_or(JudgeScores{});
    EXPECT_EQ(scores.first, expected["parse_score"][i]["parsed"][0].get<double>());
    EXPECT_EQ(scores.second, expected["parse_score"][i]["parsed"][1].get<double>());
  }
}

TEST_F(RecordedReviews, SummariesAreEqual) {
  int rows = 0;
  for (const auto& [name, summary] : expected["summaries"].items()) {
    std::istringstream words(name);
    std::string file, word;
    words >> file;
    std::set<std::string> ignore;
    while (words >> word)
      if (word != "-i") ignore.insert(word);
    const auto reviews = load_reviews(folder + file, ignore);
    ASSERT_TRUE(reviews.ok()) << reviews.status().to_string();
    const auto mine = summarize_reviews(*reviews);
    ASSERT_EQ(mine.size(), summary["rows"].size()) << name;
    for (const ReviewSummary& row : mine) {
      const auto& theirs = summary["rows"].at(row.name);
      EXPECT_EQ(row.ratio, theirs["ratio"].get<double>()) << name << " " << row.name;
      EXPECT_EQ(row.first, theirs["first"].get<double>()) << name << " " << row.name;
      EXPECT_EQ(row.second, theirs["second"].get<double>()) << name << " " << row.name;
      ++rows;
    }
  }
  EXPECT_EQ(rows, 10);
}

}  // namespace
}  // namespace tephra::eval
