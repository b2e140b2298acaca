// Short answers to questions about pictures: when an answer counts as right, what kind a question is of, and how far
// one gets without looking. Pure; texts are UTF-8.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tephra::eval {

// The answer as VQA's evaluation compares it (Antol et al. 2015, "VQA: Visual Question Answering"): lower case (ASCII);
// one blank between words; punctuation removed where it stands beside a blank and a blank elsewhere, a full stop
// removed unless a digit follows, a comma between digits removed, apostrophes and colons kept; the articles a, an, the
// dropped; the number words none and zero to ten as digits. Contractions stay as they are written.
std::string normalize_vqa(std::string_view text);

// Of the normalised texts. VQA has ten references a question and counts agreement; here there is one.
bool vqa_match(std::string_view answer, std::string_view reference);

// By the question's words: "yes/no" when it opens with a verb (is, are, does, ...), "number" for how many, "color",
// "shape", else "other".
std::string vqa_category(std::string_view question);

// The best that an answerer does which never sees a picture, as far as the training questions tell.
class VqaBaselines {
 public:
  void learn(const std::string& question, const std::string& answer);

  // The most frequent answer in training; of equally frequent ones the first in alphabetical order. Empty when nothing
  // was learned.
  std::string majority() const;
  // The most frequent answer to this very question; the majority's for one that was not in training.
  std::string blind(const std::string& question) const;

 private:
  using Counts = std::map<std::string, long>;
  static std::string most_frequent(const Counts& counts);

  Counts answers_;
  std::map<std::string, Counts> by_question_;
};

}  // namespace tephra::eval
