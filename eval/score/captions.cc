#include "eval/score/captions.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

namespace tephra::eval {
namespace {

constexpr int kLongest = 4;  // words of an n-gram

bool is_word_byte(char c) {
  return static_cast<unsigned char>(c) >= 128 || std::isalnum(static_cast<unsigned char>(c)) != 0;
}

// What holds two letters or digits together within a word.
bool joins(const std::string& text, size_t i) {
  if (i == 0 || i + 1 >= text.size()) return false;
  const char before = text[i - 1], after = text[i + 1];
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  switch (text[i]) {
    case '-':
    case '_':
    case '\'': return is_word_byte(before) && is_word_byte(after);
    case ':': return digit(before) && digit(after);
    case '/':
    case '&': return is_word_byte(before) && is_word_byte(after);
    case '.': return is_word_byte(before) && is_word_byte(after);
    case ',': return digit(before) && digit(after);
    default: return false;
  }
}

bool ends_with(const std::string& word, std::string_view end) {
  return word.size() > end.size() && word.ends_with(end);
}

// Abbreviations keep their full stop, also at a sentence's end.
bool is_abbreviation(const std::string& word) {
  static const std::set<std::string> kWords = {"ave", "blvd", "dr",   "etc", "jr", "mr", "mrs",
                                               "ms",  "mt",   "prof", "rd",  "sr", "st", "vs"};
  return kWords.contains(word);
}

// "22 3/4" is one word, held together by U+00A0.
bool is_fraction(const std::string& word) {
  const size_t slash = word.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < word.size() &&
         word.find_first_not_of("0123456789/") == std::string::npos && word.rfind('/') == slash;
}

// "don't" is do, n't; "man's" is man, 's; "cannot" is can, not.
void add_word(const std::string& word, std::vector<std::string>& out) {
  if (word == "cannot") {
    out.insert(out.end(), {"can", "not"});
    return;
  }
  if (word == "gonna" || word == "gotta") {
    out.insert(out.end(), {word.substr(0, 3), word.substr(3)});
    return;
  }
  for (std::string_view end : {"n't", "'s", "'re", "'ve", "'ll", "'d", "'m"}) {
    if (!ends_with(word, end)) continue;
    add_word(word.substr(0, word.size() - end.size()), out);
    out.emplace_back(end);
    return;
  }
  out.push_back(word);
}

using Gram = std::vector<std::string>;
using Counts = std::map<Gram, double>;

std::array<Counts, kLongest> grams_of(const std::vector<std::string>& tokens) {
  std::array<Counts, kLongest> grams;
  for (size_t n = 1; n <= kLongest; ++n)
    for (size_t i = 0; i + n <= tokens.size(); ++i)
      ++grams[n - 1][Gram(tokens.begin() + static_cast<ptrdiff_t>(i), tokens.begin() + static_cast<ptrdiff_t>(i + n))];
  return grams;
}

void score_bleu(const std::vector<CaptionCase>& cases, CaptionScore* out) {
  // COCO's script keeps quotients from being 0 / 0 with these.
  constexpr double kSmall = 1e-9, kTiny = 1e-15;
  double candidate_length = 0, reference_length = 0;
  std::array<double, kLongest> guesses{}, matches{};
  for (const CaptionCase& c : cases) {
    const auto size = static_cast<double>(c.candidate.size());
    candidate_length += size;
    double closest = -1;  // of equally close ones the shorter
    for (const auto& reference : c.references) {
      const auto length = static_cast<double>(reference.size());
      if (closest < 0 || std::pair(std::abs(length - size), length) < std::pair(std::abs(closest - size), closest))
        closest = length;
    }
    reference_length += std::max(0.0, closest);
    const auto mine = grams_of(c.candidate);
    std::array<Counts, kLongest> most;
    for (const auto& reference : c.references) {
      const auto theirs = grams_of(reference);
      for (size_t n = 0; n < kLongest; ++n)
        for (const auto& [gram, count] : theirs[n]) most[n][gram] = std::max(most[n][gram], count);
    }
    for (size_t n = 0; n < kLongest; ++n) {
      guesses[n] += std::max(0.0, size - static_cast<double>(n));
      for (const auto& [gram, count] : mine[n])
        if (const auto found = most[n].find(gram); found != most[n].end()) matches[n] += std::min(count, found->second);
    }
  }
  double product = 1;
  const double length_ratio = (candidate_length + kTiny) / (reference_length + kSmall);
  for (size_t n = 0; n < kLongest; ++n) {
    product *= (matches[n] + kTiny) / (guesses[n] + kSmall);
    out->bleu[n] = std::pow(product, 1.0 / static_cast<double>(n + 1));
    if (length_ratio < 1) out->bleu[n] *= std::exp(1 - 1 / length_ratio);
  }
}

struct Vector {
  std::array<Counts, kLongest> weights;  // term frequency times inverse document frequency
  std::array<double, kLongest> norm{};
  double length = 0;  // bigrams, as COCO's script takes it
};

class Cider {
 public:
  explicit Cider(const std::vector<CaptionCase>& cases) : documents_(std::log(static_cast<double>(cases.size()))) {
    for (const CaptionCase& c : cases) {
      std::set<Gram> seen;
      for (const auto& reference : c.references)
        for (const Counts& grams : grams_of(reference))
          for (const auto& [gram, count] : grams) seen.insert(gram);
      for (const Gram& gram : seen) ++frequency_[gram];
    }
  }

  double score(const CaptionCase& c) const {
    const Vector mine = vector_of(c.candidate);
    std::array<double, kLongest> sum{};
    for (const auto& reference : c.references) {
      const Vector theirs = vector_of(reference);
      for (size_t n = 0; n < kLongest; ++n) sum[n] += similarity(mine, theirs, n);
    }
    double mean = 0;
    for (double s : sum) mean += s / kLongest;
    return 10 * mean / static_cast<double>(c.references.size());
  }

 private:
  Vector vector_of(const std::vector<std::string>& tokens) const {
    Vector v;
    auto grams = grams_of(tokens);
    for (size_t n = 0; n < kLongest; ++n) {
      for (auto& [gram, count] : grams[n]) {
        const auto found = frequency_.find(gram);
        const double df = std::log(std::max(1.0, found == frequency_.end() ? 0.0 : found->second));
        if (n == 1) v.length += count;
        count *= documents_ - df;
        v.norm[n] += count * count;
      }
      v.norm[n] = std::sqrt(v.norm[n]);
    }
    v.weights = std::move(grams);
    return v;
  }

  // Clipped cosine, damped where the lengths differ: the D of CIDEr-D.
  static double similarity(const Vector& mine, const Vector& theirs, size_t n) {
    constexpr double kSigma = 6;
    double value = 0;
    for (const auto& [gram, weight] : mine.weights[n])
      if (const auto found = theirs.weights[n].find(gram); found != theirs.weights[n].end())
        value += std::min(weight, found->second) * found->second;
    if (mine.norm[n] != 0 && theirs.norm[n] != 0) value /= mine.norm[n] * theirs.norm[n];
    const double delta = mine.length - theirs.length;
    return value * std::exp(-delta * delta / (2 * kSigma * kSigma));
  }

  std::map<Gram, double> frequency_;
  double documents_;
};

}  // namespace

std::vector<std::string> caption_tokens(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (static_cast<unsigned char>(c) < 128) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::vector<std::string> out;
  for (size_t i = 0; i < lower.size();) {
    size_t end = i;
    while (end < lower.size() && (is_word_byte(lower[end]) || (end > i && joins(lower, end)))) ++end;
    if (end > i) {
      std::string word = lower.substr(i, end - i);
      if (end < lower.size() && lower[end] == '.' && is_abbreviation(word)) word += lower[end++];
      const bool after_number = i > 0 && lower[i - 1] == ' ' && !out.empty() &&
                                out.back().find_first_not_of("0123456789") == std::string::npos;
      if (after_number && is_fraction(word))
        out.back() += "\u00a0" + word;
      else
        add_word(word, out);
      i = end;
      continue;
    }
    // Punctuation is left out; brackets and signs that stand for words are not.
    static constexpr std::pair<char, const char*> kBrackets[] = {{'(', "-lrb-"}, {')', "-rrb-"}, {'[', "-lsb-"},
                                                                 {']', "-rsb-"}, {'{', "-lcb-"}, {'}', "-rcb-"}};
    for (const auto& [sign, name] : kBrackets)
      if (lower[i] == sign) out.emplace_back(name);
    if (std::string_view("$%&@#*+=/").find(lower[i]) != std::string_view::npos) out.emplace_back(1, lower[i]);
    ++i;
  }
  return out;
}

CaptionScore score_captions(const std::vector<CaptionCase>& cases) {
  CaptionScore out;
  if (cases.empty()) return out;
  score_bleu(cases, &out);
  const Cider cider(cases);
  for (const CaptionCase& c : cases) {
    out.cider_of_case.push_back(cider.score(c));
    out.cider += out.cider_of_case.back() / static_cast<double>(cases.size());
  }
  return out;
}

}  // namespace tephra::eval
