// Free-text answers against references: exact match, token F1 and ROUGE-L. Pure; texts are UTF-8.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tephra::eval {

// Lower case (ASCII), punctuation to nothing, the words a, an, the dropped, blanks squeezed: the normalisation of
// SQuAD's evaluate-v1.1.py.
std::string normalize_answer(std::string_view text);

bool exact_match(std::string_view answer, std::string_view reference);  // of the normalised texts
// Harmonic mean of precision and recall over the bags of normalised words (SQuAD), 0..1. Both empty: 1.
double token_f1(std::string_view answer, std::string_view reference);
// ROUGE-L F-measure (Lin 2004): longest common subsequence of normalised words, beta 1, 0..1. Both empty: 1.
double rouge_l(std::string_view answer, std::string_view reference);

struct InstructScore {
  double exact = 0;  // 0 or 1
  double token_f1 = 0;
  double rouge_l = 0;
};
InstructScore score_instruct(std::string_view answer, std::string_view reference);

struct InstructCase {
  std::string category;  // empty: only in the total
  InstructScore score;
};

struct InstructAggregate {
  InstructScore mean;
  int64_t count = 0;
};
// Means by category, and over all under the key "all".
std::map<std::string, InstructAggregate> aggregate_instruct(const std::vector<InstructCase>& cases);

}  // namespace tephra::eval
