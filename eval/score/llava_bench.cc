#include "eval/score/llava_bench.h"

#include <cstdio>
#include <cstdlib>
#include <map>

#include "eval/score/json_lines.h"

namespace tephra::eval {
namespace {

// A whole text as Python's float() takes it, but for underscores between digits.
std::optional<double> python_float(std::string text) {
  if (text.find_first_of("xXpP(") != std::string::npos) return std::nullopt;  // hexadecimal, nan(...)
  const size_t begin = text.find_first_not_of("\t\r\f\v");
  if (begin == std::string::npos) return std::nullopt;
  text = text.substr(begin, text.find_last_not_of("\t\r\f\v") + 1 - begin);
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size()) return std::nullopt;
  return value;
}

// Python's round(): the decimal that is nearest to the exact value, the even one of two.
double rounded(double value, int digits) {
  char buffer[400];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return std::strtod(buffer, nullptr);
}

}  // namespace

std::optional<JudgeScores> parse_judge_scores(std::string_view reply) {
  std::string line(reply.substr(0, reply.find('\n')));
  for (char& c : line)
    if (c == ',') c = ' ';
  const size_t blank = line.find(' ');
  if (blank == std::string::npos || line.find(' ', blank + 1) != std::string::npos) return std::nullopt;
  const auto first = python_float(line.substr(0, blank)), second = python_float(line.substr(blank + 1));
  if (!first || !second) return std::nullopt;
  return JudgeScores{*first, *second};
}

std::vector<ReviewSummary> summarize_reviews(const std::vector<Review>& reviews) {
  std::map<std::string, std::vector<JudgeScores>> groups;
  for (const Review& review : reviews) {
    if (!review.category.empty()) groups[review.category].push_back(review.scores);
    groups["all"].push_back(review.scores);
  }
  std::vector<ReviewSummary> out;
  for (const auto& [name, scores] : groups) {
    double first = 0, second = 0;
    for (const JudgeScores& s : scores) first += s.first, second += s.second;
    const auto n = static_cast<double>(scores.size());
    first = rounded(first / n, 3), second = rounded(second / n, 3);
    out.push_back({name, rounded(second / first * 100, 1), rounded(first * 10, 1), rounded(second * 10, 1),
                   static_cast<int64_t>(scores.size())});
  }
  return out;
}

Result<std::vector<Review>> load_reviews(const std::string& path, const std::set<std::string>& ignore) {
  const std::string format = "reviews, {\"question_id\", \"tuple\": [first, second], \"category\", \"content\"}";
  TEPHRA_ASSIGN_OR_RETURN(const auto objects, read_json_objects(path, format));
  std::vector<Review> out;
  for (const auto& object : objects) {
    Review review;
    review.question_id = id_of(object, "question_id");
    const auto bad = [&](const char* what) {
      return Status(Code::kInvalidArgument, path + ": the review of question '" + review.question_id + "' " + what +
                                                "; the file should hold " + format);
    };
    if (review.question_id.empty()) return bad("has no question_id");
    if (ignore.contains(review.question_id)) continue;
    review.category = text_of(object, "category");
    review.text = text_of(object, object.contains("content") ? "content" : "text");
    const auto pair = object.find(object.contains("tuple") ? "tuple" : "score");
    if (pair != object.end()) {
      if (!pair->is_array() || pair->size() != 2 || !(*pair)[0].is_number() || !(*pair)[1].is_number())
        return bad("has scores that are not two numbers");
      review.scores = {(*pair)[0].get<double>(), (*pair)[1].get<double>()};
    } else if (review.text.empty()) {
      return bad("has neither scores nor a text");
    } else {
      review.scores = parse_judge_scores(review.text).value_or(JudgeScores{});
    }
    out.push_back(std::move(review));
  }
  if (out.empty()) return Status(Code::kInvalidArgument, path + ": holds no review");
  return out;
}

}  // namespace tephra::eval
