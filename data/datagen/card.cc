#include "data/datagen/card.h"

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "data/datagen/reply_check.h"

namespace tephra::data {
namespace {

constexpr size_t kVerbsShown = 20, kNounsShown = 4;

struct Table {
  std::string title;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

size_t words_in(const std::string& text) {
  const std::string words = normalised_text(text);
  return words.empty() ? 0 : 1 + static_cast<size_t>(std::count(words.begin(), words.end(), ' '));
}

// "12.3 (3 to 40)"
struct Spread {
  double sum = 0;
  size_t n = 0, least = 0, most = 0;
  void add(size_t value) {
    least = n == 0 ? value : std::min(least, value);
    most = std::max(most, value);
    sum += static_cast<double>(value);
    ++n;
  }
  std::string text() const {
    if (n == 0) return "none";
    return fixed(sum / static_cast<double>(n), 1) + " (" + std::to_string(least) + " to " + std::to_string(most) + ")";
  }
};

Table origin(const Generated& generated, const CardInfo& info) {
  Table t{"Made from", {"what", "value"}, {}};
  t.rows = {
      {"captions", info.captions},
      {"boxes", info.instances.empty() ? "in the same file, or none" : info.instances},
      {"pictures that could be used", std::to_string(info.pictures)},
      {"teacher", info.teacher == "local" ? "local: fixed sentences, no language model; for tests and demonstrations"
                                          : info.teacher},
      {"prompts", info.prompts_hash},
      {"seed", std::to_string(info.seed)},
      {"samples asked for", std::to_string(generated.wanted)},
      {"content hash of the samples", info.content_hash}};
  if (info.cost > 0) t.rows.push_back({"cost, USD", fixed(info.cost, 4)});
  return t;
}

Table counts(const Generated& generated) {
  Table t{"Counts and lengths, in words", {"kind", "samples", "exchanges a sample", "question", "answer"}, {}};
  for (const SampleKind kind : kSampleKinds) {
    Spread turns, questions, answers;
    for (const GeneratedSample& sample : generated.samples) {
      if (sample.kind != kind) continue;
      turns.add(sample.exchanges.size());
      for (const Exchange& e : sample.exchanges) {
        questions.add(words_in(e.question));
        answers.add(words_in(e.answer));
      }
    }
    t.rows.push_back({kind_name(kind), std::to_string(turns.n), turns.text(), questions.text(), answers.text()});
  }
  t.rows.push_back({"all", std::to_string(generated.samples.size()), "", "", ""});
  return t;
}

Table rejects(const Generated& generated) {
  Table t{"Rejected", {"reason", "count", "example"}, {}};
  for (const auto& [reason, n] : generated.reasons()) {
    const auto first = std::find_if(generated.rejected.begin(), generated.rejected.end(),
                                    [&, r = reason](const auto& x) { return x.reason == r; });
    t.rows.push_back({reason, std::to_string(n), first->id + ": " + first->detail});
  }
  return t;
}

VerbNounCounts pairs_of(const Generated& generated, const VerbNoun& words) {
  std::vector<std::string> instructions;
  for (const GeneratedSample& sample : generated.samples)
    for (const Exchange& e : sample.exchanges) instructions.push_back(e.question);
  return count_verb_nouns(words, instructions, kVerbsShown, kNounsShown);
}

Table verb_table(const VerbNounCounts& pairs) {
  Table t{"Verbs and nouns of the instructions", {"verb", "count", "nouns"}, {}};
  for (const auto& verb : pairs.verbs) {
    std::string nouns;
    for (const auto& [noun, n] : verb.nouns) nouns += (nouns.empty() ? "" : ", ") + noun + " " + std::to_string(n);
    t.rows.push_back({verb.verb, std::to_string(verb.count), nouns});
  }
  return t;
}

std::string escaped(const std::string& text, bool html) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"' && html)
      out += "&quot;";
    else if (c == '|' && !html)
      out += "\\|";
    else
      out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out;
}

std::string markdown(const Table& t) {
  if (t.rows.empty()) return "";
  std::string out = "\n## " + t.title + "\n\n";
  const auto row = [&](const std::vector<std::string>& cells) {
    for (const std::string& cell : cells) out += "| " + escaped(cell, false) + " ";
    out += "|\n";
  };
  row(t.header);
  row(std::vector<std::string>(t.header.size(), "---"));
  for (const auto& cells : t.rows) row(cells);
  return out;
}

std::string html(const Table& t) {
  if (t.rows.empty()) return "";
  std::string out = "<h2>" + escaped(t.title, true) + "</h2>\n<table" +
                    (t.header.size() == 2 ? " class=\"pairs\"" : "") + " tabindex=\"0\"><thead><tr>";
  for (const std::string& cell : t.header) out += "<th scope=\"col\">" + escaped(cell, true) + "</th>";
  out += "</tr></thead><tbody>\n";
  for (const auto& cells : t.rows) {
    out += "<tr>";
    for (const std::string& cell : cells) out += "<td>" + escaped(cell, true) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

constexpr const char* kAbout =
    "Written by a teacher that was shown captions and boxes and never a picture, after Liu et al. 2023 (Visual Instruction Tuning, section 3). "
    "Captions, pictures and the teacher's words keep the terms they come under; look at those before passing this data on.";

}  // namespace

std::string card_markdown(const Generated& generated, const CardInfo& info, const VerbNoun& words) {
  return "# " + escaped(info.title, false) + "\n\n" + kAbout + "\n" + markdown(origin(generated, info)) +
         markdown(counts(generated)) + markdown(rejects(generated)) + markdown(verb_table(pairs_of(generated, words)));
}

std::string card_html(const Generated& generated, const CardInfo& info, const VerbNoun& words) {
  const VerbNounCounts pairs = pairs_of(generated, words);
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
         "<title>" +
         escaped(info.title, true) +
         "</title>\n<style>:root{color-scheme:light dark}body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
         "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #8888;padding:.3rem .6rem;text-align:left;vertical-align:top}"
         // Names and values may be broken anywhere, words of a table with more columns are not: that table scrolls.
         ".pairs td{overflow-wrap:anywhere}"
         "tr{break-inside:avoid}h2{break-after:avoid}svg{max-width:40rem;width:100%;break-inside:avoid}</style></head><body><main>\n<h1>" +
         escaped(info.title, true) + "</h1>\n<p>" + escaped(kAbout, true) + "</p>\n" + html(origin(generated, info)) +
         html(counts(generated)) + html(rejects(generated)) + html(verb_table(pairs)) + verb_noun_svg(pairs) +
         "</main></body></html>\n";
}

}  // namespace tephra::data
