// Yes-or-no benches: POPE (Li et al. 2023, "Evaluating Object Hallucination in Large Vision-Language Models") and MME (Fu et al.
// 2023), as their published scripts read answers and count. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tephra::eval {

// POPE's evaluate.py: of the text up to the first full stop, commas removed, "no" when one of the words No, no, not is in it;
// everything else, the empty answer too, is "yes". Words are what single blanks divide.
std::string pope_answer(std::string_view text);

// MME's calculation.py: "yes" or "no" when the whole answer, in lower case, is that word or its first four bytes hold it (yes is
// looked for first); else "other", which is never right.
std::string mme_answer(std::string_view text);

struct YesNoCase {
  bool label = false;   // the right answer is yes
  bool answer = false;  // yes was said
};

struct YesNoScore {
  int64_t true_positive = 0, false_positive = 0, true_negative = 0, false_negative = 0;
  // 0..1; 0 where there is nothing to divide by.
  double accuracy = 0, precision = 0, recall = 0, f1 = 0, yes_ratio = 0;
};
// "yes" is the positive class.
YesNoScore score_yes_no(const std::vector<YesNoCase>& cases);

struct MmeCase {
  std::string task;   // "existence", "code_reasoning", ...
  std::string image;  // questions of one task with equal image are a pair
  bool correct = false;
};

struct MmeTask {
  int64_t correct = 0, count = 0;          // questions
  int64_t both_correct = 0, pictures = 0;  // pictures whose questions were all answered right
  double score() const;                    // accuracy + accuracy per picture, 0..200
};

struct MmeScore {
  std::map<std::string, MmeTask> tasks;
  double perception = 0;  // sum over the ten perception tasks that were asked, at most 2000
  double cognition = 0;   // over the four cognition tasks, at most 800
};
MmeScore score_mme(const std::vector<MmeCase>& cases);

// "perception" or "cognition"; empty for a task that MME does not have.
std::string mme_group(std::string_view task);

}  // namespace tephra::eval
