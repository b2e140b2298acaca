// Short answers to questions about pictures: when an answer counts as right, what kind a question is of, and how far
// one gets without looking. Pure; texts are UTF-8.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tephra::eval {

// The answer as VQA's evaluation compares it (vqaEval.py; Antol et al. 2015, "VQA: Visual Question Answering"): lower case
// (ASCII); one blank between words; punctuation removed where it stands beside a blank and a blank elsewhere, a full stop
// removed unless a digit follows, a comma between digits removed, apostrophes and colons kept; the articles a, an, the
// dropped; the number words none and zero to ten as digits; contractions with their apostrophe ("dont" is "don't").
std::string normalize_vqa(std::string_view text);

// What EvalAI's answer processor makes of an answer (used by TextVQA, and by LLaVA before it hands VQA answers in): commas and
// question marks dropped, a blank before 's, then normalize_vqa.
std::string normalize_textvqa(std::string_view text);

// Of the normalised texts, where there is one reference.
bool vqa_match(std::string_view answer, std::string_view reference);

// VQA's accuracy, 0..1, against the answers of several people: min(1, people who gave it / 3), averaged over all ways to leave
// one of them out. As in vqaEval.py, texts are normalised only where people disagree. No references: 0.
double vqa_accuracy(std::string_view answer, const std::vector<std::string>& references);
// The same with normalize_textvqa throughout, as TextVQA counts (Singh et al. 2019).
double textvqa_accuracy(std::string_view answer, const std::vector<std::string>& references);

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
