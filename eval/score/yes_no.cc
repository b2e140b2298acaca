#include "eval/score/yes_no.h"

#include <algorithm>
#include <cctype>

namespace tephra::eval {
namespace {

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

constexpr std::string_view kPerception[] = {"existence", "count", "position", "color",   "posters",
                                            "celebrity", "scene", "landmark", "artwork", "OCR"};
constexpr std::string_view kCognition[] = {"commonsense_reasoning", "numerical_calculation", "text_translation",
                                           "code_reasoning"};

}  // namespace

std::string pope_answer(std::string_view text) {
  std::string sentence(text.substr(0, text.find('.')));
  std::erase(sentence, ',');
  for (size_t begin = 0; begin <= sentence.size();) {
    const size_t end = std::min(sentence.find(' ', begin), sentence.size());
    const std::string_view word = std::string_view(sentence).substr(begin, end - begin);
    if (word == "No" || word == "not" || word == "no") return "no";
    begin = end + 1;
  }
  return "yes";
}

std::string mme_answer(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "yes" || lower == "no") return lower;
  const std::string_view prefix = std::string_view(lower).substr(0, 4);
  if (prefix.find("yes") != std::string_view::npos) return "yes";
  if (prefix.find("no") != std::string_view::npos) return "no";
  return "other";
}

YesNoScore score_yes_no(const std::vector<YesNoCase>& cases) {
  YesNoScore s;
  for (const YesNoCase& c : cases) {
    s.true_positive += c.label && c.answer;
    s.false_positive += !c.label && c.answer;
    s.true_negative += !c.label && !c.answer;
    s.false_negative += c.label && !c.answer;
  }
  const auto count = static_cast<int64_t>(cases.size());
  s.accuracy = ratio(s.true_positive + s.true_negative, count);
  s.precision = ratio(s.true_positive, s.true_positive + s.false_positive);
  s.recall = ratio(s.true_positive, s.true_positive + s.false_negative);
  s.f1 = s.precision + s.recall == 0 ? 0 : 2 * s.precision * s.recall / (s.precision + s.recall);
  s.yes_ratio = ratio(s.true_positive + s.false_positive, count);
  return s;
}

double MmeTask::score() const { return 100 * ratio(correct, count) + 100 * ratio(both_correct, pictures); }

std::string mme_group(std::string_view task) {
  if (std::find(std::begin(kPerception), std::end(kPerception), task) != std::end(kPerception)) return "perception";
  if (std::find(std::begin(kCognition), std::end(kCognition), task) != std::end(kCognition)) return "cognition";
  return "";
}

MmeScore score_mme(const std::vector<MmeCase>& cases) {
  MmeScore out;
  std::map<std::string, std::map<std::string, bool>> all_correct;  // by task, then picture
  for (const MmeCase& c : cases) {
    MmeTask& task = out.tasks[c.task];
    ++task.count;
    task.correct += c.correct;
    auto [picture, unused] = all_correct[c.task].emplace(c.image, true);
    picture->second = picture->second && c.correct;
  }
  for (auto& [name, task] : out.tasks) {
    for (const auto& [image, correct] : all_correct[name]) {
      ++task.pictures;
      task.both_correct += correct;
    }
    const std::string group = mme_group(name);
    if (group == "perception") out.perception += task.score();
    if (group == "cognition") out.cognition += task.score();
  }
  return out;
}

}  // namespace tephra::eval
