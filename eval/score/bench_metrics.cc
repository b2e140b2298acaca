#include "eval/score/bench_metrics.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "eval/score/captions.h"
#include "eval/score/judge.h"
#include "eval/score/llava_bench.h"
#include "eval/score/yes_no.h"

namespace tephra::eval {
namespace {

bool says_yes_or_no(const std::string& text) {
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    const unsigned char c = i < text.size() ? static_cast<unsigned char>(text[i]) : ' ';
    if (std::isalpha(c)) {
      word += static_cast<char>(std::tolower(c));
      continue;
    }
    if (word == "yes" || word == "no" || word == "not") return true;
    word.clear();
  }
  return false;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

void pope_metrics(BenchResult* result) {
  std::vector<YesNoCase> cases;
  int64_t neither = 0;
  for (const CaseRow& row : result->cases) {
    if (row.parsed.empty()) continue;  // not answered
    cases.push_back({row.reference == "yes", row.parsed == "yes"});
    neither += !says_yes_or_no(row.answer);
  }
  const YesNoScore score = score_yes_no(cases);
  result->metrics["f1"] = score.f1;
  result->metrics["precision"] = score.precision;
  result->metrics["recall"] = score.recall;
  result->metrics["yes_ratio"] = score.yes_ratio;
  result->counts["neither"] = neither;
}

void mme_metrics(BenchResult* result) {
  std::vector<MmeCase> cases;
  for (const CaseRow& row : result->cases) cases.push_back({row.category, row.group, row.correct});
  const MmeScore score = score_mme(cases);
  result->metrics["perception"] = score.perception;
  result->metrics["cognition"] = score.cognition;
  result->metrics["score"] = score.perception + score.cognition;
  for (Column& column : result->columns) column.mean = score.tasks.at(column.name).score() / 200;
}

void caption_scores(const QuestionSet& set, BenchResult* result) {
  std::vector<CaptionCase> cases;
  for (size_t i = 0; i < result->cases.size(); ++i) {
    CaptionCase c;
    c.candidate = caption_tokens(result->cases[i].answer);
    for (const std::string& reference : set.questions[i].references) c.references.push_back(caption_tokens(reference));
    result->cases[i].parsed = joined(c.candidate);
    cases.push_back(std::move(c));
  }
  const CaptionScore score = score_captions(cases);
  for (size_t i = 0; i < cases.size(); ++i) result->cases[i].scores["cider"] = score.cider_of_case[i];
  for (int n = 0; n < 4; ++n) result->metrics["bleu_" + std::to_string(n + 1)] = score.bleu[n];
}

void loss_scores(BenchResult* result) {
  for (CaseRow& row : result->cases) {
    const auto loss = parse_loss_answer(row.answer);
    row.parsed = loss ? row.answer : "";
    if (loss) row.scores = {{"loss", loss->loss}, {"tokens", static_cast<double>(loss->tokens)}};
  }
}

void loss_metrics(BenchResult* result) {
  double nats = 0, tokens = 0;
  for (const CaseRow& row : result->cases) {
    if (!row.scores.contains("loss")) continue;
    nats += row.scores.at("loss") * row.scores.at("tokens");
    tokens += row.scores.at("tokens");
  }
  result->metrics.erase("tokens");
  result->metrics.erase("loss");
  result->counts["tokens"] = static_cast<int64_t>(tokens);
  if (tokens == 0) return;
  result->metrics["loss"] = nats / tokens;
  result->metrics["perplexity"] = std::exp(nats / tokens);
}

void judged_scores(const QuestionSet& set, const std::map<std::string, std::string>& judgments, BenchResult* result) {
  std::vector<Review> all;
  int64_t unreadable = 0, judged = 0;
  for (size_t i = 0; i < result->cases.size(); ++i) {
    CaseRow& row = result->cases[i];
    const auto reviews = reviews_of(set.questions[i], judgments, &unreadable);
    row.parsed = reviews.empty() ? "" : row.answer;
    judged += !reviews.empty();
    const auto n = static_cast<double>(reviews.size());
    for (const Review& review : reviews) {
      row.scores["reference_score"] += review.scores.first / n;
      row.scores["answer_score"] += review.scores.second / n;
    }
    all.insert(all.end(), reviews.begin(), reviews.end());
  }
  result->counts["judged"] = judged;
  result->counts["judgments"] = static_cast<int64_t>(all.size());
  result->counts["judgments_unreadable"] = unreadable;
  if (all.empty()) return;
  for (const ReviewSummary& summary : summarize_reviews(all)) {
    if (summary.name == "all") {
      result->metrics["relative_score"] = summary.ratio / 100;
      continue;
    }
    result->columns.push_back({summary.name, 0, summary.count, summary.ratio / 100});
  }
}

void judged_metrics(BenchResult* result) {
  // Means over the judged cases, in shares of ten.
  for (const char* name : {"reference_score", "answer_score"}) {
    double sum = 0, n = 0;
    for (const CaseRow& row : result->cases)
      if (const auto found = row.scores.find(name); found != row.scores.end()) sum += found->second, ++n;
    if (n > 0) result->metrics[name] = sum / n / 10;
  }
}

}  // namespace

std::string rule_of(const std::string& kind) {
  if (kind == "vqa") return "equal after VQA's normalisation (Antol et al. 2015)";
  if (kind == "vqav2") return "VQA's accuracy of ten people's answers (Antol et al. 2015)";
  if (kind == "textvqa") return "TextVQA's accuracy of ten people's answers (Singh et al. 2019)";
  if (kind == "pope") return "POPE's: no when the first sentence has no or not, else yes (Li et al. 2023)";
  if (kind == "mme") return "MME's: yes or no within the first four letters (Fu et al. 2023)";
  if (kind == "captions") return "BLEU and CIDEr-D of the caption's tokens (COCO)";
  if (kind == "llava_bench") return "two numbers in the judge's first line (Liu et al. 2023)";
  return "";
}

void add_case_scores(const BenchSpec& spec, const QuestionSet& set, const std::map<std::string, std::string>& judgments,
                     BenchResult* result) {
  if (spec.kind == "captions") caption_scores(set, result);
  if (spec.kind == "loss") loss_scores(result);
  if (spec.kind == "llava_bench") judged_scores(set, judgments, result);
}

void add_bench_metrics(BenchResult* result) {
  if (result->kind == "pope") pope_metrics(result);
  if (result->kind == "mme") mme_metrics(result);
  if (result->kind == "loss") loss_metrics(result);
  if (result->kind == "llava_bench") judged_metrics(result);
}

std::string loss_answer(const LossAnswer& loss) {
  char buffer[80];
  std::snprintf(buffer, sizeof buffer, "loss %.17g tokens %lld", loss.loss, static_cast<long long>(loss.tokens));
  return buffer;
}

std::optional<LossAnswer> parse_loss_answer(const std::string& text) {
  LossAnswer out;
  long long tokens = 0;
  int read = 0;
  if (std::sscanf(text.c_str(), "loss %lf tokens %lld%n", &out.loss, &tokens, &read) != 2 ||
      read != static_cast<int>(text.size()) || !std::isfinite(out.loss) || tokens < 0)
    return std::nullopt;
  out.tokens = tokens;
  return out;
}

}  // namespace tephra::eval
