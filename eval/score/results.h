// What a benchmark run leaves behind: numbers, what they depend on, and every raw answer, so that it can be scored
// again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "eval/score/scienceqa.h"

namespace tephra::eval {

inline constexpr const char* kScienceQaTest = "ScienceQA test";

// One question and what was answered.
struct CaseRow {
  std::string id;
  std::string question;
  std::vector<std::string> choices;  // empty: free text
  std::string reference;             // the right answer: a choice's letter, or text
  std::string answer;                // raw, as generated
  std::string parsed;                // what was scored: a letter or the normalised text; empty: could not be parsed
  bool correct = false;
  std::string image_path;  // absolute; empty: no picture
  std::string category;
  std::string group;                     // questions that count together; empty: each by itself
  std::map<std::string, double> scores;  // per question, for example token_f1
  std::optional<bool> correct_swapped;   // outcome with another question's picture; absent: not asked
  std::map<std::string, bool>
      baselines;  // outcomes of answerers that never see a picture: majority, blind; may be empty
};

struct BenchResult {
  std::string bench;  // name in the recipe
  std::string kind;   // as BenchSpec's
  std::map<std::string, std::string>
      pinned;  // prompt, rule, decoding, data hash, ...: results compare only when these are equal
  std::map<std::string, double>
      metrics;  // accuracy, token_f1, rouge_l, guess_level, accuracy_swapped, ...: shares in 0..1
  std::map<std::string, int64_t>
      counts;                   // total, correct, unparsed, images, skipped, correct_swapped, count_swapped, ...
  std::vector<Column> columns;  // scienceqa: nine; otherwise one a category, may be empty
  std::map<std::string, std::vector<Column>>
      groups;  // finer columns by what they divide by: topic, grade; may be empty
  std::string
      published;  // "ScienceQA test": the questions are that split's, or some of them; empty: none that is known
  std::string incomplete;  // why some answers are not scored yet; empty: all are
  std::vector<CaseRow> cases;
};

// Fills metrics (accuracy, guess_level, majority, accuracy_swapped, means of CaseRow::scores), counts (total, correct,
// unparsed, correct_swapped, count_swapped, majority_correct, images) from the cases; columns by category when there
// are none yet. Of the questions asked both ways: accuracy_swapped, accuracy_shown (their own pictures) and
// swap_p_value (McNemar). majority: of the most frequent reference among the cases; where the cases have baselines, their
// shares by name instead (majority, blind), with counts NAME_correct. guess_level: mean of 1/choices, or the majority's
// share for free text.
// Benches without right and wrong answers (has_right_answers) have the means, counts and columns only.
void summarize(BenchResult* result);

// Whether a case of a bench of this kind is right or wrong: all kinds but captions, loss and llava_bench.
bool has_right_answers(const std::string& kind);

std::string to_json(const BenchResult& result);
Result<BenchResult> from_json(const std::string& text);  // kCorruption with what is wrong

}  // namespace tephra::eval
