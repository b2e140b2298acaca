#include "eval/score/vqa.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <sstream>

#include "eval/score/vqa_contractions.h"

namespace tephra::eval {
namespace {

constexpr std::string_view kPunctuation = ";/[]\"{}()=+\\_-><@`,?!";

bool is_digit(const std::string& text, size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 128) c = std::isspace(byte) ? ' ' : static_cast<char>(std::tolower(byte));
  }
  return out;
}

// "1,000"
bool has_grouped_number(const std::string& text) {
  for (size_t i = 1; i < text.size(); ++i)
    if (text[i] == ',' && is_digit(text, i - 1) && is_digit(text, i + 1)) return true;
  return false;
}

std::string without_punctuation(const std::string& text) {
  const bool grouped = has_grouped_number(text);
  std::string marks;
  for (const char c : text) {
    if (kPunctuation.find(c) == std::string_view::npos) {
      marks += c;
      continue;
    }
    // VQA looks at the whole answer: a mark that stands beside a blank once is removed wherever it stands, and every
    // mark is when there is a comma between digits.
    const bool loose = text.find(std::string(1, c) + " ") != std::string::npos ||
                       text.find(" " + std::string(1, c)) != std::string::npos || grouped;
    if (!loose) marks += ' ';
  }
  // Full stops go unless a digit follows. VQA's call to re.sub passes a flag where a count belongs, so only 32 do.
  std::string out;
  int removed = 0;
  for (size_t i = 0; i < marks.size(); ++i) {
    if (marks[i] == '.' && !is_digit(marks, i + 1) && removed < 32)
      ++removed;
    else
      out += marks[i];
  }
  return out;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string number_word(const std::string& word) {
  static constexpr std::array<const char*, 11> kWords = {"zero", "one",   "two",   "three", "four", "five",
                                                         "six",  "seven", "eight", "nine",  "ten"};
  if (word == "none") return "0";
  const auto found = std::find(kWords.begin(), kWords.end(), word);
  return found == kWords.end() ? word : std::to_string(found - kWords.begin());
}

// Line ends and tabs as blanks, letters as they are.
std::string blanked(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c == '\n' || c == '\t') c = ' ';
  return out;
}

// The mean over all ways to leave one reference out of min(1, equal ones among the others / 3).
double agreement(int64_t equal, int64_t count) {
  const auto share = [](int64_t others) { return std::min(1.0, static_cast<double>(others) / 3); };
  double sum = 0;  // added one by one, as VQA does, so that the last bit is the same
  for (int64_t i = 0; i < count; ++i) sum += share(i < equal ? equal - 1 : equal);
  return sum / static_cast<double>(count);
}

std::string trimmed(std::string text) {
  text.erase(0, std::min(text.find_first_not_of(' '), text.size()));
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

}  // namespace

std::string normalize_vqa(std::string_view text) {
  std::string out;
  // Trimmed first, as VQA does: a mark at the end of an answer does not stand beside a blank because of a line's end.
  for (const std::string& word : words_of(without_punctuation(trimmed(lower(text)))))
    if (word != "a" && word != "an" && word != "the")
      out += (out.empty() ? "" : " ") + with_apostrophe(number_word(word));
  return out;
}

std::string normalize_textvqa(std::string_view text) {
  std::string words = lower(text);
  std::erase_if(words, [](char c) { return c == ',' || c == '?'; });
  replace_all(words, "'s", " 's");
  return normalize_vqa(words);
}

double vqa_accuracy(std::string_view answer, const std::vector<std::string>& references) {
  if (references.empty()) return 0;
  const std::set<std::string> distinct(references.begin(), references.end());
  const bool normalise = distinct.size() > 1;
  const std::string said = normalise ? normalize_vqa(answer) : trimmed(blanked(answer));
  int64_t equal = 0;
  for (const std::string& reference : references)
    equal += (normalise ? normalize_vqa(reference) : trimmed(blanked(reference))) == said;
  return agreement(equal, static_cast<int64_t>(references.size()));
}

double textvqa_accuracy(std::string_view answer, const std::vector<std::string>& references) {
  if (references.empty()) return 0;
  const std::string said = normalize_textvqa(answer);
  int64_t equal = 0;
  for (const std::string& reference : references) equal += normalize_textvqa(reference) == said;
  return agreement(equal, static_cast<int64_t>(references.size()));
}

bool vqa_match(std::string_view answer, std::string_view reference) {
  return normalize_vqa(answer) == normalize_vqa(reference);
}

std::string vqa_category(std::string_view question) {
  const std::vector<std::string> words = words_of(normalize_vqa(question));
  const auto has = [&](const char* word) { return std::find(words.begin(), words.end(), word) != words.end(); };
  static constexpr const char* kVerbs[] = {"is",  "are",  "was", "were",  "do",   "does", "did",
                                           "has", "have", "can", "could", "will", "would"};
  if (words.empty()) return "other";
  if (std::find(std::begin(kVerbs), std::end(kVerbs), words[0]) != std::end(kVerbs)) return "yes/no";
  if (words.size() > 1 && words[0] == "how" && words[1] == "many") return "number";
  if (has("color") || has("colour")) return "color";
  if (has("shape")) return "shape";
  return "other";
}

void VqaBaselines::learn(const std::string& question, const std::string& answer) {
  ++answers_[answer];
  ++by_question_[question][answer];
}

std::string VqaBaselines::majority() const { return most_frequent(answers_); }

std::string VqaBaselines::blind(const std::string& question) const {
  const auto found = by_question_.find(question);
  return found == by_question_.end() ? majority() : most_frequent(found->second);
}

std::string VqaBaselines::most_frequent(const Counts& counts) {
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == counts.end() ? "" : most->first;
}

}  // namespace tephra::eval
