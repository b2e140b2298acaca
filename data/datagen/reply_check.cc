#include "data/datagen/reply_check.h"

#include <array>
#include <cctype>
#include <cstdlib>
#include <set>
#include <string_view>

namespace tephra::data {
namespace {

constexpr size_t kExchangesMax = 12;
constexpr size_t kDescriptionWordsMin = 8;
constexpr size_t kOpeningBytes = 80;
constexpr size_t kQuoteBytes = 60;

// In normalised_text, so apostrophes are spaces. An opening counts only where an answer begins: people in pictures can be sorry too.
constexpr std::array kRefusalOpenings{"i m sorry",  "i am sorry",  "sorry",        "i cannot",      "i can t",
                                      "i m unable", "i am unable", "i m not able", "i am not able", "unfortunately i"};
constexpr std::array kRefusals{"as an ai",
                               "language model",
                               "cannot see the picture",
                               "cannot see the image",
                               "can t see the picture",
                               "can t see the image",
                               "unable to view",
                               "unable to see the",
                               "do not have access to the",
                               "don t have access to the"};
constexpr std::array kLeaks{"caption",
                            "captions",
                            "captioned",
                            "bounding box",
                            "bounding boxes",
                            "coordinate",
                            "coordinates",
                            "object list",
                            "list of objects",
                            "the descriptions",
                            "provided description",
                            "given description",
                            "description provided",
                            "provided information",
                            "information provided",
                            "normalized",
                            "normalised"};

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

bool is_word(const std::string& padded, std::string_view words) {
  return padded.find(" " + std::string(words) + " ") != std::string::npos;
}

// 'Q' or 'A' when the line begins with "Question:" or "Answer:" (also "**Question:**", "Question 2:"), with what follows.
char marker(std::string_view line, std::string* rest) {
  size_t at = line.find_first_not_of(" \t*#");
  if (at == std::string_view::npos) return 0;
  std::string lower;
  for (char c : line.substr(at, 24)) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& [word, kind] :
       {std::pair{std::string_view("question"), 'Q'}, std::pair{std::string_view("answer"), 'A'}}) {
    if (!lower.starts_with(word)) continue;
    size_t end = word.size();
    while (end < lower.size() && (lower[end] == ' ' || std::isdigit(static_cast<unsigned char>(lower[end])))) ++end;
    if (end >= lower.size() || lower[end] != ':') continue;
    std::string_view after = line.substr(at + end + 1);
    while (after.starts_with('*')) after.remove_prefix(1);
    *rest = after;
    return kind;
  }
  return 0;
}

CheckedReply rejected(const char* reason, const std::string& detail) {
  return {{}, reason, detail.substr(0, kQuoteBytes)};
}

CheckedReply read_exchanges(const std::string& text) {
  CheckedReply out;
  char open = 0;  // what the line belongs to
  std::string_view left = text;
  while (!left.empty()) {
    const size_t end = left.find('\n');
    const std::string_view line = left.substr(0, end);
    left.remove_prefix(end == std::string_view::npos ? left.size() : end + 1);
    std::string rest(line);
    if (const char kind = marker(line, &rest); kind != 0) {
      const char expected = open == 'Q' ? 'A' : 'Q';
      if (kind != expected)
        return rejected("format",
                        std::string("no '") + (expected == 'A' ? "Answer" : "Question") + ":' before: " + rest);
      open = kind;
      if (kind == 'Q') out.exchanges.push_back({});
    } else if (open == 0) {
      if (!trimmed(line).empty()) return rejected("format", "text before the first 'Question:': " + trimmed(line));
      continue;
    }
    std::string& place = open == 'Q' ? out.exchanges.back().question : out.exchanges.back().answer;
    place += rest + "\n";
  }
  if (out.exchanges.empty() || open == 'Q')
    return rejected("format", out.exchanges.empty() ? "no 'Question:'" : "no answer to the last question");
  for (Exchange& e : out.exchanges) e = {trimmed(e.question), trimmed(e.answer)};
  return out;
}

// The numbers of a bracket that holds nothing else.
std::vector<double> numbers_in(std::string_view text) {
  std::vector<double> out;
  const std::string copy(text);
  for (const char* at = copy.c_str(); *at != '\0';) {
    if (*at == ' ' || *at == ',' || *at == ';') {
      ++at;
      continue;
    }
    char* end = nullptr;
    const double value = std::strtod(at, &end);
    if (end == at) return {};
    out.push_back(value);
    at = end;
  }
  return out;
}

CheckedReply check_places(const std::string& text) {
  for (size_t at = 0; (at = text.find_first_of("[(", at)) != std::string::npos; ++at) {
    const size_t end = text.find_first_of("])", at);
    if (end == std::string::npos) break;
    const std::vector<double> numbers = numbers_in(std::string_view(text).substr(at + 1, end - at - 1));
    if (numbers.size() != 2 && numbers.size() != 4) continue;
    const std::string quote = text.substr(at, end - at + 1);
    for (const double n : numbers)
      if (n < 0 || n > 1) return rejected("coordinates", quote);
    return rejected("leak", quote);
  }
  return {};
}

CheckedReply check_text(const std::string& text, bool is_answer) {
  const std::string words = normalised_text(text);
  if (words.empty()) return rejected("empty_turn", is_answer ? "an answer" : "a question");
  const std::string padded = " " + words + " ";
  const std::string opening = padded.substr(0, kOpeningBytes);
  for (const char* refusal : kRefusalOpenings)
    if (is_answer && opening.starts_with(" " + std::string(refusal) + " ")) return rejected("refusal", text);
  for (const char* refusal : kRefusals)
    if (is_word(padded, refusal)) return rejected("refusal", refusal);
  for (const char* leak : kLeaks)
    if (is_word(padded, leak)) return rejected("leak", leak);
  for (const char* tag : {"<image>", "</s>", "<s>", "<|", "###"})
    if (text.find(tag) != std::string::npos) return rejected("format", std::string("holds ") + tag);
  return check_places(text);
}

}  // namespace

std::string normalised_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || std::isalnum(byte)) {
      out += static_cast<char>(byte < 0x80 ? std::tolower(byte) : byte);
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

CheckedReply check_reply(SampleKind kind, const std::string& question, const std::string& text,
                         const std::string& finish_reason) {
  if (finish_reason == "length") return rejected("cut_off", trimmed(text));
  CheckedReply out;
  if (kind == SampleKind::kDetail) {
    out.exchanges.push_back({question, trimmed(text)});
  } else {
    // A teacher that refuses does not keep to the form: the refusal is the better reason.
    if (CheckedReply whole = check_text(text, true); whole.reason == "refusal") return whole;
    out = read_exchanges(text);
    if (out.exchanges.empty()) return out;
  }
  if (kind == SampleKind::kComplex && out.exchanges.size() != 1)
    return rejected("format", std::to_string(out.exchanges.size()) + " questions where one was asked for");
  if (out.exchanges.size() > kExchangesMax) return rejected("format", "more than 12 exchanges");
  std::set<std::string> questions;
  for (const Exchange& e : out.exchanges) {
    for (const bool is_answer : {false, true})
      if (CheckedReply bad = check_text(is_answer ? e.answer : e.question, is_answer); !bad.reason.empty()) return bad;
    if (!questions.insert(normalised_text(e.question)).second) return rejected("duplicate", e.question);
  }
  if (kind == SampleKind::kDetail) {
    size_t words = 1;
    for (const char c : normalised_text(out.exchanges[0].answer)) words += c == ' ';
    if (words < kDescriptionWordsMin) return rejected("too_short", out.exchanges[0].answer);
  }
  return out;
}

}  // namespace tephra::data
