// LLaVA-Bench (Liu et al. 2023): a judge gives two answers a score each, and a model's number is its scores in percent of the
// reference's. Reading and summing as LLaVA's eval_gpt_review.py and summarize_gpt_review.py do. Pure.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace tephra::eval {

struct JudgeScores {
  double first = -1;   // of the first answer shown
  double second = -1;  // of the second
};

// parse_score: the first line, commas to blanks, exactly two pieces between single blanks, each a number; nothing otherwise ("8, 9"
// has three pieces). "nan" and "inf" are numbers, as for Python.
std::optional<JudgeScores> parse_judge_scores(std::string_view reply);

struct Review {
  std::string question_id;
  std::string category;  // "llava_bench_conv"; empty: counts in "all" only
  JudgeScores scores;    // -1, -1: could not be read, and counts so, as in the original
  std::string text;      // the judge's reply
};

struct ReviewSummary {
  std::string name;  // "all", or a category
  // As summarize_gpt_review.py prints them, with one decimal: the second's percent of the first, and both means times ten.
  double ratio = 0, first = 0, second = 0;
  int64_t count = 0;
};

// Sorted by name. Means are rounded to three decimals before they are divided, as in the original.
std::vector<ReviewSummary> summarize_reviews(const std::vector<Review>& reviews);

// A published review file, JSON lines: {"question_id", "tuple" or "score": [a, b], "category"?, "content" or "text"?}. Where the scores
// are absent they are read from the text. kInvalidArgument with the line.
Result<std::vector<Review>> load_reviews(const std::string& path, const std::set<std::string>& ignore = {});

}  // namespace tephra::eval
