#include "data/datagen/verb_noun.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/env.h"
#include "data/datagen/reply_check.h"

namespace tephra::data {
namespace {

// "dogs" to "dog", "boxes" to "box", "berries" to "berry".
std::string singular(const std::string& word) {
  if (word.size() > 4 && word.ends_with("ies")) return word.substr(0, word.size() - 3) + "y";
  if (word.size() > 4 && (word.ends_with("ches") || word.ends_with("shes") || word.ends_with("xes")))
    return word.substr(0, word.size() - 2);
  if (word.size() > 3 && word.ends_with("s") && !word.ends_with("ss") && !word.ends_with("us") && !word.ends_with("is"))
    return word.substr(0, word.size() - 1);
  return word;
}

// "M x y" of a point at an angle (turns, clockwise from the top) and radius.
std::string point(double turns, double radius) {
  char text[48];
  std::snprintf(text, sizeof text, "%.2f %.2f", 200 + radius * std::sin(2 * M_PI * turns),
                200 - radius * std::cos(2 * M_PI * turns));
  return text;
}

// A piece of a ring, with its word along the radius where it is wide enough.
std::string piece(double from, double to, double inner, double outer, const std::string& colour,
                  const std::string& word, uint64_t count) {
  to = std::min(to, from + 0.9999);  // a whole ring is no arc
  const int large = to - from > 0.5 ? 1 : 0;
  char text[512];
  std::snprintf(
      text, sizeof text,
      "<path d=\"M%s A%g %g 0 %d 1 %s L%s A%g %g 0 %d 0 %s Z\" fill=\"%s\" stroke=\"#fff\"><title>%s: %llu</title></path>\n",
      point(from, outer).c_str(), outer, outer, large, point(to, outer).c_str(), point(to, inner).c_str(), inner, inner,
      large, point(from, inner).c_str(), colour.c_str(), word.c_str(), static_cast<unsigned long long>(count));
  std::string out = text;
  const double middle = (from + to) / 2;
  if ((to - from) * 2 * M_PI * inner < 9) return out;
  const double turn = 360 * middle + (middle < 0.5 ? -90 : 90);
  std::snprintf(text, sizeof text,
                "<text transform=\"translate(%s) rotate(%.1f)\" text-anchor=\"middle\" dy=\"3\">%s</text>\n",
                point(middle, (inner + outer) / 2).c_str(), turn, word.c_str());
  return out + text;
}

}  // namespace

Result<VerbNoun> VerbNoun::load(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  VerbNoun out;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    out.verbs_ = json.at("verbs").get<std::set<std::string>>();
    out.weak_ = json.at("weak").get<std::set<std::string>>();
    out.skip_ = json.at("skip").get<std::set<std::string>>();
    out.forms_ = json.at("forms").get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception& error) {
    return Status(Code::kInvalidArgument, path + ": " + error.what());
  }
  return out;
}

std::string VerbNoun::verb_of(const std::string& word) const {
  if (verbs_.contains(word)) return word;
  if (const auto form = forms_.find(word); form != forms_.end()) return form->second;
  for (const char* ending : {"s", "es", "ed", "d", "ing"}) {
    if (!word.ends_with(ending)) continue;
    std::string stem = word.substr(0, word.size() - std::string(ending).size());
    if (verbs_.contains(stem)) return stem;
    if (verbs_.contains(stem + "e")) return stem + "e";
    if (stem.size() > 2 && stem[stem.size() - 1] == stem[stem.size() - 2] &&
        verbs_.contains(stem.substr(0, stem.size() - 1)))
      return stem.substr(0, stem.size() - 1);
  }
  return "";
}

std::pair<std::string, std::string> VerbNoun::of(const std::string& instruction) const {
  std::istringstream in(normalised_text(instruction));
  std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  size_t at = words.size(), weak_at = words.size();
  for (size_t i = 0; i < words.size() && at == words.size(); ++i) {
    const std::string verb = verb_of(words[i]);
    if (verb.empty()) continue;
    if (!weak_.contains(verb))
      at = i;
    else if (weak_at == words.size())
      weak_at = i;
  }
  if (at == words.size()) at = weak_at;
  if (at == words.size()) return {};
  const auto noun_in = [&](size_t begin, size_t end) -> std::string {
    for (size_t i = begin; i < end; ++i)
      if (!skip_.contains(words[i]) && verb_of(words[i]).empty() && words[i].size() > 1) return singular(words[i]);
    return "";
  };
  // "What animals are in the picture?" has its noun in front of the verb.
  std::string noun = noun_in(at + 1, words.size());
  if (noun.empty() || noun == "picture") {
    if (const std::string before = noun_in(0, at); !before.empty()) noun = before;
  }
  return {verb_of(words[at]), noun};
}

VerbNounCounts count_verb_nouns(const VerbNoun& words, const std::vector<std::string>& instructions, size_t verbs_max,
                                size_t nouns_max) {
  std::map<std::string, std::map<std::string, uint64_t>> counts;
  for (const std::string& instruction : instructions) {
    const auto [verb, noun] = words.of(instruction);
    if (!verb.empty() && !noun.empty()) ++counts[verb][noun];
  }
  const auto by_count = [](const auto& a, const auto& b) { return a.second > b.second; };
  VerbNounCounts out;
  out.instructions = instructions.size();
  for (const auto& [verb, nouns] : counts) {
    VerbNounCounts::Verb made{verb, 0, {nouns.begin(), nouns.end()}};
    for (const auto& [noun, n] : nouns) made.count += n;
    std::stable_sort(made.nouns.begin(), made.nouns.end(), by_count);
    if (made.nouns.size() > nouns_max) made.nouns.resize(nouns_max);
    out.verbs.push_back(std::move(made));
  }
  std::stable_sort(out.verbs.begin(), out.verbs.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  if (out.verbs.size() > verbs_max) out.verbs.resize(verbs_max);
  return out;
}

std::string verb_noun_svg(const VerbNounCounts& counts) {
  double total = 0;
  for (const auto& verb : counts.verbs) total += static_cast<double>(verb.count);
  if (total == 0) return "";
  std::string out =
      "<svg viewBox=\"0 0 400 400\" role=\"img\" aria-label=\"Verbs of the instructions and their nouns\" "
      "style=\"font:8px sans-serif;fill:#222\">\n";
  double from = 0;
  for (size_t v = 0; v < counts.verbs.size(); ++v) {
    const auto& verb = counts.verbs[v];
    const int hue = static_cast<int>(360 * v / counts.verbs.size());
    const double to = from + static_cast<double>(verb.count) / total;
    out += piece(from, to, 60, 120, "hsl(" + std::to_string(hue) + ",45%,78%)", verb.verb, verb.count);
    double at = from;
    for (const auto& [noun, n] : verb.nouns) {
      const double end = at + static_cast<double>(n) / total;
      out += piece(at, end, 120, 190, "hsl(" + std::to_string(hue) + ",50%,88%)", noun, n);
      at = end;
    }
    from = to;
  }
  return out + "</svg>\n";
}

}  // namespace tephra::data
