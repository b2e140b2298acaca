#include "eval/score/instruct.h"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace tephra::eval {
namespace {

std::vector<std::string> normalized_words(std::string_view text) {
  std::vector<std::string> words;
  std::istringstream stream(normalize_answer(text));
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

double harmonic_mean(double overlap, size_t answer_size, size_t reference_size) {
  if (answer_size == 0 && reference_size == 0) return 1;
  if (overlap == 0) return 0;
  const double precision = overlap / static_cast<double>(answer_size),
               recall = overlap / static_cast<double>(reference_size);
  return 2 * precision * recall / (precision + recall);
}

}  // namespace

std::string normalize_answer(std::string_view text) {
  std::string kept;
  for (unsigned char c : text)
    if (c >= 128 || !std::ispunct(c)) kept += static_cast<char>(c < 128 ? std::tolower(c) : c);
  std::istringstream stream(kept);
  std::string out;
  for (std::string word; stream >> word;)
    if (word != "a" && word != "an" && word != "the") out += (out.empty() ? "" : " ") + word;
  return out;
}

bool exact_match(std::string_view answer, std::string_view reference) {
  return normalize_answer(answer) == normalize_answer(reference);
}

double token_f1(std::string_view answer, std::string_view reference) {
  const auto a = normalized_words(answer), r = normalized_words(reference);
  std::map<std::string, int> left;
  for (const auto& word : r) ++left[word];
  double overlap = 0;
  for (const auto& word : a) {
    const auto found = left.find(word);
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++overlap;
  }
  return harmonic_mean(overlap, a.size(), r.size());
}

double rouge_l(std::string_view answer, std::string_view reference) {
  const auto a = normalized_words(answer), r = normalized_words(reference);
  std::vector<int> row(r.size() + 1, 0);  // longest common subsequence of a's words so far and r's first j
  for (const auto& word : a) {
    int diagonal = 0;
    for (size_t j = 1; j <= r.size(); ++j) {
      const int above = row[j];
      row[j] = word == r[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return harmonic_mean(row.back(), a.size(), r.size());
}

InstructScore score_instruct(std::string_view answer, std::string_view reference) {
  return {exact_match(answer, reference) ? 1.0 : 0.0, token_f1(answer, reference), rouge_l(answer, reference)};
}

std::map<std::string, InstructAggregate> aggregate_instruct(const std::vector<InstructCase>& cases) {
  std::map<std::string, InstructAggregate> out;
  const auto add = [](InstructAggregate& into, const InstructScore& score) {
    into.mean.exact += score.exact;
    into.mean.token_f1 += score.token_f1;
    into.mean.rouge_l += score.rouge_l;
    ++into.count;
  };
  for (const auto& c : cases) {
    add(out["all"], c.score);
    if (!c.category.empty() && c.category != "all") add(out[c.category], c.score);
  }
  for (auto& [name, aggregate] : out) {
    const auto count = static_cast<double>(aggregate.count);
    aggregate.mean.exact /= count;
    aggregate.mean.token_f1 /= count;
    aggregate.mean.rouge_l /= count;
  }
  return out;
}

}  // namespace tephra::eval
