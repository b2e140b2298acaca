// ScienceQA: an answer's text to a choice, and the nine columns of the ScienceQA and LLaVA papers. Equal to ScienceQA's
// tools/evaluate_acc.py (get_scores) and LLaVA's llava/eval/eval_science_qa.py, except where said. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "data/scienceqa.h"

namespace tephra::eval {

// How a choice is read from an answer's text.
//   kScienceQa  the pattern "The answer is ([A-Z])." (the last dot is any character but a newline), found exactly once.
//   kLlava      the text if it is one of A-E; else its first letter when that is A-E and ". " follows; else kScienceQa.
//   kLoglik     of texts that loglik_answer wrote, the choice that the model found most likely; the first of equal ones.
//   kLetter     forgiving: kLlava, else the first capital A-E that stands alone as a word ("(B)", "B)", "Answer: B").
enum class AnswerRule { kScienceQa, kLlava, kLetter, kLoglik };

Result<AnswerRule> parse_answer_rule(std::string_view name);  // "scienceqa" | "llava" | "letter" | "loglik"
std::string_view to_string(AnswerRule rule);

// The 0-based choice, or nothing when no letter is found or the letter is past the last of `choice_count` choices.
std::optional<int> parse_answer(AnswerRule rule, std::string_view text, int choice_count);

// "loglik -12.25 -3.5": the natural logarithms of the choices' likelihoods, as a bench's answer keeps them.
std::string loglik_answer(const std::vector<double>& loglik);

struct Column {
  std::string name;            // NAT SOC LAN TXT IMG NO G1-6 G7-12 Avg
  int64_t correct = 0;         // questions
  int64_t count = 0;           // questions
  std::optional<double> mean;  // of benches whose questions are worth more or less than one: 0..1
  double accuracy() const {    // 0..1
    if (mean) return *mean;
    return count == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(count);
  }
};

// The column names in the papers' order.
const std::vector<std::string>& column_names();

struct ScienceQaScore {
  std::vector<Column> columns;           // nine, in column_names() order
  std::map<std::string, Column> topics;  // by topic
  std::map<std::string, Column> grades;  // by grade, "grade1" to "grade12"
  int64_t unparsed = 0;                  // questions whose answer named no choice; counted as wrong
};

struct ScienceQaAnswer {
  const data::ScienceQaProblem* problem = nullptr;  // borrowed for the call
  std::optional<int> choice;                        // parse_answer's
};

// Columns overlap: NAT + SOC + LAN is every question, TXT are those with a hint, IMG with a picture, NO with neither.
ScienceQaScore score_scienceqa(const std::vector<ScienceQaAnswer>& answers);

// A predictions file of LLaVA's eval_science_qa.py: {"outputs": {question id: text}}.
Result<std::map<std::string, std::string>> load_predictions(const std::string& path);

struct PredictionScore {
  ScienceQaScore score;  // over the predicted questions that `problems` knows
  std::map<std::string, std::optional<int>>
      choices;  // every predicted question; unknown questions are taken to have five choices
};

PredictionScore score_predictions(const std::map<std::string, std::string>& outputs,
                                  const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule);

}  // namespace tephra::eval
