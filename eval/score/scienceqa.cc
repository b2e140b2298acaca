#include "eval/score/scienceqa.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/env.h"

namespace tephra::eval {
namespace {

constexpr std::string_view kStem = "The answer is ";

// re.findall(r'The answer is ([A-Z]).'): the letter when it is found exactly once. The dot is unescaped in the
// original, so any character but a newline ends the match, and matches do not overlap.
std::optional<char> find_stated_letter(std::string_view text) {
  std::optional<char> letter;
  size_t at = text.find(kStem);
  while (at != std::string_view::npos) {
    const size_t end = at + kStem.size();
    if (end + 1 < text.size() && text[end] >= 'A' && text[end] <= 'Z' && text[end + 1] != '\n') {
      if (letter) return std::nullopt;
      letter = text[end];
      at = text.find(kStem, end + 2);
    } else {
      at = text.find(kStem, at + 1);
    }
  }
  return letter;
}

bool is_option(char c) { return c >= 'A' && c <= 'E'; }

std::optional<char> find_llava_letter(std::string_view text) {
  if (text.size() == 1 && is_option(text[0])) return text[0];
  if (text.size() >= 3 && is_option(text[0]) && text.substr(1, 2) == ". ") return text[0];
  return find_stated_letter(text);
}

// The first capital that stands alone. "A" before a small letter is taken for the article ("A red circle").
std::optional<char> find_lone_letter(std::string_view text) {
  const auto is_word = [&](size_t i) {
    return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || text[i] == '\'');
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_option(text[i]) || (i > 0 && is_word(i - 1)) || is_word(i + 1)) continue;
    const bool article = text[i] == 'A' && i + 2 < text.size() && text[i + 1] == ' ' &&
                         std::islower(static_cast<unsigned char>(text[i + 2]));
    if (!article) return text[i];
  }
  return std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::optional<int> most_likely(std::string_view text, int choice_count) {
  std::istringstream in{std::string(text)};
  std::string word;
  if (!(in >> word) || word != "loglik") return std::nullopt;
  std::vector<double> values;
  while (in >> word) {
    char* end = nullptr;
    values.push_back(std::strtod(word.c_str(), &end));
    if (end != word.c_str() + word.size() || std::isnan(values.back())) return std::nullopt;
  }
  if (values.empty() || static_cast<int>(values.size()) != choice_count) return std::nullopt;
  return static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
}

// "grade7" is 7; 0 when it is not of that form.
int grade_number(const std::string& grade) {
  int number = 0;
  for (char c : grade.substr(std::min<size_t>(5, grade.size())))
    if (std::isdigit(static_cast<unsigned char>(c))) number = number * 10 + (c - '0');
  return number;
}

// Whether `problem` counts in each column, in column_names() order.
std::array<bool, 9> membership(const data::ScienceQaProblem& problem) {
  const bool text = !problem.hint.empty(), image = !problem.image.empty();
  const int grade = grade_number(problem.grade);
  return {problem.subject == "natural science",
          problem.subject == "social science",
          problem.subject == "language science",
          text,
          image,
          !text && !image,
          grade >= 1 && grade <= 6,
          grade >= 7 && grade <= 12,
          true};
}

}  // namespace

Result<AnswerRule> parse_answer_rule(std::string_view name) {
  for (AnswerRule rule : {AnswerRule::kScienceQa, AnswerRule::kLlava, AnswerRule::kLetter, AnswerRule::kLoglik})
    if (name == to_string(rule)) return rule;
  return Status(Code::kInvalidArgument,
                "there is no answer rule '" + std::string(name) + "'; use scienceqa, llava, letter or loglik");
}

std::string_view to_string(AnswerRule rule) {
  switch (rule) {
    case AnswerRule::kScienceQa: return "scienceqa";
    case AnswerRule::kLlava: return "llava";
    case AnswerRule::kLetter: return "letter";
    case AnswerRule::kLoglik: return "loglik";
  }
  return "";
}

std::optional<int> parse_answer(AnswerRule rule, std::string_view text, int choice_count) {
  std::optional<char> letter;
  switch (rule) {
    case AnswerRule::kScienceQa: letter = find_stated_letter(text); break;
    case AnswerRule::kLlava: letter = find_llava_letter(text); break;
    case AnswerRule::kLoglik: return most_likely(text, choice_count);
    case AnswerRule::kLetter:
      letter = find_llava_letter(trimmed(text));
      if (!letter) letter = find_lone_letter(text);
      break;
  }
  if (!letter || *letter - 'A' >= choice_count) return std::nullopt;
  return *letter - 'A';
}

std::string loglik_answer(const std::vector<double>& loglik) {
  std::string out = "loglik";
  for (const double value : loglik) {
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, " %.17g", value);
    out += buffer;
  }
  return out;
}

const std::vector<std::string>& column_names() {
  static const std::vector<std::string> names = {"NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12", "Avg"};
  return names;
}

ScienceQaScore score_scienceqa(const std::vector<ScienceQaAnswer>& answers) {
  ScienceQaScore score;
  for (const auto& name : column_names()) score.columns.push_back({name, 0, 0, {}});
  for (const auto& answer : answers) {
    const bool correct = answer.choice == answer.problem->answer;
    score.unparsed += !answer.choice.has_value();
    const auto in = membership(*answer.problem);
    for (size_t i = 0; i < in.size(); ++i) {
      score.columns[i].count += in[i];
      score.columns[i].correct += in[i] && correct;
    }
    const auto count_in = [&](Column& column, const std::string& name) {
      column.name = name;
      ++column.count;
      column.correct += correct;
    };
    count_in(score.topics[answer.problem->topic], answer.problem->topic);
    count_in(score.grades[answer.problem->grade], answer.problem->grade);
  }
  return score;
}

Result<std::map<std::string, std::string>> load_predictions(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  const auto fail = [&](const std::string& what) {
    return Status(Code::kInvalidArgument,
                  path + ": " + what + "; a predictions file is {\"outputs\": {question id: text}}");
  };
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return fail("is not JSON");
  if (!json.is_object() || !json.contains("outputs") || !json["outputs"].is_object())
    return fail("has no mapping \"outputs\"");
  std::map<std::string, std::string> outputs;
  for (const auto& [id, output] : json["outputs"].items()) {
    if (!output.is_string()) return fail("the output of question " + id + " is not a text");
    outputs[id] = output.get<std::string>();
  }
  return outputs;
}

PredictionScore score_predictions(const std::map<std::string, std::string>& outputs,
                                  const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule) {
  constexpr int kChoicesOfUnknown = 5;
  std::map<std::string, const data::ScienceQaProblem*> known;
  for (const auto& problem : problems) known[problem.pid] = &problem;
  PredictionScore result;
  std::vector<ScienceQaAnswer> answers;
  for (const auto& [id, text] : outputs) {
    const auto problem = known.find(id);
    const bool is_known = problem != known.end();
    const int choices = is_known ? static_cast<int>(problem->second->choices.size()) : kChoicesOfUnknown;
    result.choices[id] = parse_answer(rule, text, choices);
    if (is_known) answers.push_back({problem->second, result.choices[id]});
  }
  result.score = score_scienceqa(answers);
  return result;
}

}  // namespace tephra::eval
